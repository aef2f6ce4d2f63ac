"""The stand-in for AWS IoT Core (test/fakes/iotcore): started, told what to do, asked what it saw."""

import base64
import collections
import json
import pathlib
import sys
import urllib.error
import urllib.request

from .process import TOP, Process, accepts, free_port, wait_until


class Gate:
    """A running gate. server: its identity; names: the server names that it answers to; limits: NAME=value as keywords.

    connects_per_second defaults to 0 (no limit) here, so that a test need not wait for a second connection; tests of that limit
    set it.
    """

    def __init__(self, directory, server, name="gate", names=("localhost",), address="127.0.0.1", port=None, alpn_port=None,
                 tls_max="1.3", ciphers=None, **limits):
        self.record_path = pathlib.Path(directory) / f"{name}.jsonl"
        self.port = port or free_port()
        self.alpn_port = alpn_port
        self.address = address
        self.control_port = free_port()
        argv = [sys.executable, TOP / "test" / "fakes" / "iotcore", "--port", self.port, "--control-port", self.control_port,
                "--cert", server.cert, "--key", server.key, "--cafile", server.ca, "--record", self.record_path,
                "--tls-max", tls_max, "--address", address]
        for n in names:
            argv += ["--name", n]
        if alpn_port:
            argv += ["--alpn-port", alpn_port]
        if ciphers:
            argv += ["--ciphers", ciphers]
        for limit, value in {"connects_per_second": 0, **limits}.items():
            argv += ["--limit", f"{limit}={value}"]
        self.process = Process(name, argv, directory)
        self._read_to = 0
        self._events = []
        self._taken = []

    def start(self):
        self.process.start()
        self.process.wait_log("ready", 15)
        wait_until(lambda: accepts(self.control_port), 5, "control port of the gate")
        return self

    def stop(self):
        self.process.stop()

    def plugin_options(self, client, port=None, host="localhost"):
        """Options that point the plugin here, with the identity `client`; AWS's rate limits stay as they are by default."""
        return [f"iot_endpoint {host}:{port or self.port}", f"iot_certfile {client.cert}", f"iot_keyfile {client.key}",
                f"iot_cafile {client.ca}"]

    # -- telling

    def _call(self, path, body=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.control_port}/{path}",
                                         json.dumps(body).encode() if body is not None else None)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as e:
            raise ValueError(json.load(e)["error"]) from None

    def fault(self, name, value=True, count=None):
        """Sets a fault of test/fakes/iotcore/faults.py; value None clears it."""
        self._call("fault", {"name": name, "value": value, "count": count})

    def clear(self):
        """Clears all faults."""
        self._call("clear", {})

    def limit(self, **limits):
        self._call("limit", limits)

    def publish(self, topic, payload=b"", qos=1, retain=False, properties=None, count=None):
        """A message from the cloud to whoever subscribed; or `count` of them, "0 PAYLOAD", "1 PAYLOAD" ..."""
        if isinstance(payload, str):
            payload = payload.encode()
        self._call("publish", {"topic": topic, "payload_b64": base64.b64encode(payload).decode(), "qos": qos,
                               "retain": retain, "properties": properties or {}, "count": count})

    def end(self, how="close", reason=0x98, client_id=None):
        """Ends connections: "close", "reset" or "disconnect" (with the v5 reason)."""
        self._call("end", {"how": how, "reason": reason, **({"client_id": client_id} if client_id else {})})

    def send(self, data):
        """Raw bytes to every connected client."""
        self._call("send", {"hex": data.hex()})

    # -- asking

    def state(self):
        return self._call("state")

    def counters(self):
        return collections.Counter(self.state()["counters"])

    def events(self, event=None, **wanted):
        """Everything recorded (record.py) in order; of one kind, with these values."""
        if self.record_path.exists():
            with open(self.record_path, "rb") as f:
                f.seek(self._read_to)
                for line in f:
                    if not line.endswith(b"\n"):
                        break
                    self._read_to += len(line)
                    self._note(json.loads(line))
        return [e for e in self._events if (event is None or e["event"] == event)
                and all(e.get(k) == v for k, v in wanted.items())]

    def wait_events(self, event, n=1, timeout=15, **wanted):
        """Waits for at least n such events; all of them."""
        wait_until(lambda: len(self.events(event, **wanted)) >= n, timeout,
                   lambda: f"{n} x {event} {wanted} at the gate; seen {dict(self.counters())}", 0.05)
        return self.events(event, **wanted)

    def _note(self, e):
        self._events.append(e)
        if e["event"] == "publish" and e["outcome"] in ("accepted", "unacknowledged"):
            data = base64.b64decode(e["payload_b64"]) if "payload_b64" in e else e["payload"].encode()
            self._taken.append({**e, "payload": data})

    def messages(self):
        """Publishes that the cloud took, in order: the events, with the payload as bytes."""
        self.events("none")
        return list(self._taken)

    def wait_messages(self, n, timeout=15):
        wait_until(lambda: len(self.messages()) >= n, timeout,
                   lambda: f"{n} messages at the gate; {len(self.messages())} came; {dict(self.counters())}", 0.05)
        return self.messages()

    def wait_connected(self, n=1, timeout=15):
        """Waits until n connections are past CONNACK."""
        self.wait_events("connack", n, timeout, code=0)
