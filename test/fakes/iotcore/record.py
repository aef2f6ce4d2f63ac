"""Every event as one JSON line: {"t": seconds, "event": ..., "conn": connection number, ...}.

    accept, tls (version, cipher, server_name, alpn, subject), tls_failed (why), connect (client_id, version, clean, keepalive,
    username, will, properties), connack (code), publish (topic, payload or payload_b64, qos, retain, dup, packet_id, properties,
    outcome), subscribe (filters, codes), unsubscribe, puback (packet_id, reason: by the client), disconnect (reason: by the
    client), violation (what, reason: why we end the connection), takeover, closed (why)

outcome of a publish: accepted; unacknowledged (taken, PUBACK withheld); discarded (over the rate, or by a fault); refused (by a
fault's reason code); closed (the connection ends over it).
"""

import base64
import collections
import json
import time


class Record:
    def __init__(self, path):
        self._file = open(path, "a", buffering=1, encoding="utf-8") if path else None
        self._start = time.monotonic()
        self.counters = collections.Counter()

    def event(self, event, conn=None, **details):
        self.counters[event] += 1
        if event == "publish":
            self.counters["publish." + details["outcome"]] += 1
        if self._file:
            line = {"t": round(time.monotonic() - self._start, 4), "event": event}
            if conn is not None:
                line["conn"] = conn
            line.update(details)
            self._file.write(json.dumps(line, default=as_text, ensure_ascii=False) + "\n")

    def publish(self, conn, p, outcome):
        try:
            payload = {"payload": p.payload.decode()}
        except UnicodeDecodeError:
            payload = {"payload_b64": base64.b64encode(p.payload).decode()}
        self.event("publish", conn, topic=p.topic, **payload, qos=p.qos, retain=p.retain, dup=p.dup, packet_id=p.packet_id,
                   properties=p.properties, outcome=outcome)


def as_text(value):
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
