"""HTTP on a loopback port, JSON both ways:

    GET  /state                                   counters, connections, faults
    POST /fault    {"name": .., "value": .., "count": n or null}    sets a fault (faults.py); value null clears it
    POST /clear    {}                             clears all faults
    POST /limit    {"name": value, ...}           changes limits (limits.py) for new connections and packets
    POST /publish  {"topic", "payload" or "payload_b64", "qos", "retain", "properties"}    a message from the cloud;
                   "count": as many, their number and a blank before the payload
    POST /end      {"how": "close"|"reset"|"disconnect", "reason": n, "client_id": .. or absent for all}
    POST /send     {"hex": ..}                    raw bytes on every connection
"""

import asyncio
import base64
import json

import mqtt_codec as m


class Control:
    def __init__(self, gate):
        self.gate = gate

    async def listen(self, port):
        await asyncio.start_server(self._serve, "127.0.0.1", port)

    async def _serve(self, reader, writer):
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next((int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length:")),
                          0)
            body = json.loads(await reader.readexactly(length)) if length else {}
            path = head.split()[1].strip("/")
            try:
                status, answer = "200 OK", getattr(self, f"do_{path}")(**body)
            except (AttributeError, TypeError, ValueError, KeyError) as e:
                status, answer = "400 Bad Request", {"error": f"{type(e).__name__}: {e}"}
            text = json.dumps(answer or {}, default=str).encode()
            writer.write(f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n"
                         "Connection: close\r\n\r\n".encode() + text)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def do_state(self):
        return {"counters": self.gate.record.counters, "faults": self.gate.faults.state(), "limits": vars(self.gate.limits),
                "connections": [{"conn": c.number, "client_id": c.connect and c.connect.client_id,
                                 "publishes": c.publishes, "unacknowledged": len(c.unacknowledged),
                                 "subscriptions": sorted(c.session.subscriptions) if c.session else []}
                                for c in self.gate.connections.values()]}

    def do_fault(self, name, value=True, count=None):
        if value is None:
            self.gate.faults.clear(name)
        else:
            self.gate.faults.set(name, value, count)
        if name == "silent" and value is None:
            self.gate.end_silence()

    def do_clear(self):
        self.gate.faults.clear()
        self.gate.end_silence()

    def do_limit(self, **limits):
        for name, value in limits.items():
            self.gate.limits.change(name, value)

    def do_publish(self, topic, payload="", payload_b64=None, qos=1, retain=False, properties=None, count=None):
        data = base64.b64decode(payload_b64) if payload_b64 is not None else payload.encode()
        for i in range(count or 1):
            p = m.Publish(topic, b"%d %s" % (i, data) if count else data, qos, retain, properties=properties or {})
            if retain:
                self.gate.sessions.retained[topic] = p
            self.gate.deliver(p, None)

    def do_end(self, how="close", reason=0x98, client_id=None):
        for c in list(self.gate.connections.values()):
            if client_id is not None and (not c.connect or c.connect.client_id != client_id):
                continue
            if how == "disconnect":
                c.end_with(reason, "by command")
            else:
                c.end("by command", reset=how == "reset")

    def do_send(self, hex):
        for c in list(self.gate.connections.values()):
            c.out += bytes.fromhex(hex)
            c.flush()
