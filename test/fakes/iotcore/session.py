"""What outlives a connection: subscriptions, and messages for the client."""

import collections
import time

import mqtt_codec as m

QUEUE_MAX = 10000


class Session:
    """state of one client identifier. `expires`: seconds to keep it after the connection's end."""

    def __init__(self, client_id):
        self.client_id = client_id
        self.subscriptions = {}  # filter -> options
        self.queue = collections.deque(maxlen=QUEUE_MAX)  # Publish without packet identifier
        self.sent = {}  # packet identifier -> Publish that the client has not acknowledged
        self.expires = 0
        self.ended = None  # when the connection ended
        self._packet_id = 0

    def over(self):
        return self.ended is not None and time.monotonic() - self.ended >= self.expires

    def next_id(self):
        while True:
            self._packet_id = self._packet_id % 65535 + 1
            if self._packet_id not in self.sent:
                return self._packet_id

    def wants(self, topic, from_client, no_local):
        """The QoS at which this session gets a message, or None."""
        best = None
        for f, options in self.subscriptions.items():
            if no_local and options & 4 and from_client == self.client_id:
                continue
            shared = f.split("/", 2)[2] if f.startswith("$share/") else f
            if m.topic_matches(shared, topic):
                best = max(best or 0, options & 1)
        return best

    def requeue_sent(self):
        """What was sent and not acknowledged goes to the front again, marked as a duplicate."""
        for packet_id in sorted(self.sent, reverse=True):
            p = self.sent.pop(packet_id)
            p.dup = True
            self.queue.appendleft(p)


class Sessions:
    def __init__(self):
        self._by_id = {}
        self.retained = {}  # topic -> Publish

    def open(self, client_id, clean):
        """(session, was it there before?)."""
        old = self._by_id.get(client_id)
        if old and (clean or old.over()):
            old = None
        session = old or Session(client_id)
        session.ended = None
        self._by_id[client_id] = session
        return session, old is not None

    def __iter__(self):
        for client_id in [i for i, s in self._by_id.items() if s.over()]:
            del self._by_id[client_id]
        return iter(list(self._by_id.values()))
