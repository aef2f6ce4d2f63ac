"""Publishers whose messages come alone, now and then a few at once, of any size; and what of that reaches the far side."""

import collections
import threading
import time

from .mqtt import Client, Disconnected, Refused, m


class Publisher:
    """Numbered QoS 1 messages on topic up/KEY, each sent once; goes on by itself when the broker is back. Some messages of QoS 0 on
    q0/KEY stand between them. sent: how many were begun; acked: numbers that the broker has acknowledged."""

    BURST = 30
    WINDOW = 200

    def __init__(self, port, key, rng, rate):
        self.port, self.key, self.rng, self.rate = port, key, rng, rate
        self.sent, self.acked = 0, set()
        self.zeros = 0
        self.quiet = threading.Event()  # while set, nothing is sent
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self):
        self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def payload(self, number):
        size = self.rng.choice((0, 0, 0, 10, 100, 300, 300, 1000))
        if self.rng.random() < 0.02:
            size = self.rng.choice((5000, 17000, 40000, 131000))
        return b'{"n":%d,%s' % (number, b"x" * size)

    def _packet(self, client, waiting):
        if self.rng.random() < 0.05:
            self.zeros += 1
            return m.Publish(f"q0/{self.key}", b'{"n":%d,' % self.zeros, 0)
        packet_id = client.next_id()
        waiting[packet_id] = self.sent
        self.sent += 1
        return m.Publish(f"up/{self.key}", self.payload(self.sent - 1), 1, packet_id=packet_id)

    def _session(self, client):
        waiting = {}
        try:
            while not (self._stop.is_set() and not waiting) and not client.closed.is_set():
                self._note(client, waiting)
                if self._stop.is_set() or self.quiet.is_set() or len(waiting) > self.WINDOW:
                    time.sleep(0.002)
                    continue
                many = self.rng.randint(3, self.BURST) if self.rng.random() < 0.01 else 1
                client.send_bytes(b"".join(m.encode(self._packet(client, waiting), client.version) for _ in range(many)))
                time.sleep(self.rng.expovariate(self.rate / 1.2))
        except Disconnected:
            pass
        self._note(client, waiting)

    def _note(self, client, waiting):
        for packet_id in [i for i in waiting if i in client.acked]:
            self.acked.add(waiting.pop(packet_id))
            client.acked.pop(packet_id)

    def _run(self):
        while not self._stop.is_set():
            try:
                client = Client(self.port, f"lone-{self.key}")
            except (OSError, Disconnected, AssertionError, Refused):
                time.sleep(0.02)
                continue
            self._session(client)
            client.close()


class Arrivals:
    """What has reached a row of gates, one after the other."""

    def __init__(self):
        self.gates = []
        self._seen = collections.Counter()   # (gate, connection, topic, number)
        self._first = collections.defaultdict(list)  # topic -> numbers in the order of their first appearance
        self._known = collections.defaultdict(set)
        self._read = []

    def add(self, gate):
        self.gates.append(gate)
        self._read.append(0)

    def look(self):
        for i, gate in enumerate(self.gates):
            messages = gate.messages()
            for e in messages[self._read[i]:]:
                number = int(e["payload"][5:e["payload"].index(b",")])
                self._seen[(i, e["conn"], e["topic"], number)] += 1
                if number not in self._known[e["topic"]]:
                    self._known[e["topic"]].add(number)
                    self._first[e["topic"]].append(number)
            self._read[i] = len(messages)
        return self

    def count(self):
        """Messages that have arrived, each counted once."""
        return sum(len(n) for n in self._known.values())

    def numbers(self, topic):
        return self._known[topic]

    def backwards(self):
        """Messages of QoS 1 that first came in another order than they were sent."""
        return [(t, a, b) for t, n in self._first.items() for a, b in zip(n, n[1:]) if a > b and not t.startswith("q0/")]

    def twice(self):
        """Messages that came twice on one connection."""
        return [k for k, n in self._seen.items() if n > 1]
