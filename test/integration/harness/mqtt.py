"""An MQTT client for the tests. It does what it is told and nothing more: no reconnect, no resend, no queue; so a test knows
exactly what was sent and what was acknowledged. A thread reads; calls block until answered."""

import collections
import socket
import ssl
import sys
import threading
import time

from .process import TOP, wait_until

sys.path.insert(0, str(TOP / "test" / "fakes"))
import mqtt_codec as m  # noqa: E402


class Refused(Exception):
    """The server said no; reason is its code."""

    def __init__(self, text, reason):
        super().__init__(f"{text}: 0x{reason:02x}")
        self.reason = reason


class Disconnected(Exception):
    """The connection ended before the answer came."""


class TlsSocket:
    """TLS on a connected socket, for one reading thread and any number of writing ones (an ssl.SSLSocket may not be used by two
    threads at once)."""

    def __init__(self, plain, context, server_name):
        self.plain = plain
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=server_name)
        self._lock = threading.RLock()
        if self._do(self._tls.do_handshake) is not None:
            raise Disconnected("end of file in the TLS handshake")

    def _flush(self):
        if self._out.pending:
            self.plain.sendall(self._out.read())

    def _do(self, step):
        """Repeats a step of TLS until it no longer wants bytes from the peer."""
        while True:
            with self._lock:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLZeroReturnError:
                    return b""
                finally:
                    self._flush()
            data = self.plain.recv(65536)
            with self._lock:
                if data:
                    self._in.write(data)
                else:
                    self._in.write_eof()

    def recv(self, n):
        return self._do(lambda: self._tls.read(n))

    def sendall(self, data):
        with self._lock:
            self._tls.write(data)
            self._flush()

    def shutdown(self, how):
        self.plain.shutdown(how)

    def settimeout(self, timeout):
        self.plain.settimeout(timeout)

    def close(self):
        self.plain.close()


class Client:
    """A connected client.

    messages      what was received (mqtt_codec.Publish), in order; each QoS 1 message was acknowledged
    acked         packet identifiers that the server acknowledged
    closed        set when the connection has ended; disconnect holds the server's DISCONNECT (v5) if there was one
    identity      harness.pki.Identity for TLS; server_name: name for SNI and verification (default: host)
    """

    def __init__(self, port, client_id="", host="127.0.0.1", version=m.V311, clean=True, keepalive=60, username=None,
                 password=None, will=None, properties=None, identity=None, server_name=None, alpn=None, auto_ack=True,
                 timeout=10):
        self.version = version
        self.timeout = timeout
        self.auto_ack = auto_ack
        self.messages = []
        self.acked = {}
        self.answers = {}
        self.closed = threading.Event()
        self.disconnect_packet = None
        self.error = None
        self._changed = threading.Condition()
        self._write_lock = threading.Lock()
        self._packet_id = 0
        self.socket = socket.create_connection((host, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if identity:
            context = ssl.create_default_context(cafile=str(identity.ca))
            context.load_cert_chain(identity.cert, identity.key)
            if alpn:
                context.set_alpn_protocols([alpn])
            self.socket = TlsSocket(self.socket, context, server_name or "localhost")
        self.socket.settimeout(None)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.send(m.Connect(client_id or f"test-{id(self):x}", version, clean, keepalive, username, password, will,
                            properties or {}))
        self.connack = self._answer("connack")
        if self.connack.reason:
            self.close()
            raise Refused("CONNACK", self.connack.reason)

    # -- sending

    def send(self, packet):
        """Writes a packet as it is."""
        self.send_bytes(m.encode(packet, self.version))

    def send_bytes(self, data):
        with self._write_lock:
            try:
                self.socket.sendall(data)
            except OSError as e:
                raise Disconnected(str(e)) from None

    def next_id(self):
        self._packet_id = self._packet_id % 65535 + 1
        return self._packet_id

    def publish(self, topic, payload=b"", qos=1, retain=False, properties=None, wait=True, dup=False):
        """Publishes and waits for PUBACK (QoS 1) or PUBREC/PUBCOMP (QoS 2); the reason code. wait False: the packet
        identifier, to be asked for with wait_acked()."""
        if isinstance(payload, str):
            payload = payload.encode()
        packet_id = self.next_id() if qos else 0
        self.send(m.Publish(topic, payload, qos, retain, dup, packet_id, properties or {}))
        if not wait or not qos:
            return packet_id
        return self.wait_acked(packet_id)

    def wait_acked(self, packet_id, timeout=None):
        return self._wait(lambda: self.acked.get(packet_id), timeout, f"PUBACK of {packet_id}").reason

    def subscribe(self, *filters, qos=1):
        """Subscribes; the codes of SUBACK. Refused if one is a refusal."""
        packet_id = self.next_id()
        self.send(m.Subscribe(packet_id, [(f, qos) for f in filters]))
        codes = self._answer(packet_id).codes
        for code in codes:
            if code >= 0x80:
                raise Refused("SUBACK", code)
        return codes

    def ping(self):
        """Waits for the server to have handled everything sent before."""
        with self._changed:
            self.answers.pop("pingresp", None)
        self.send(m.Plain(m.PINGREQ))
        self._answer("pingresp")

    def disconnect(self, reason=0):
        try:
            self.send(m.Disconnect(reason))
        except Disconnected:
            pass
        self.close()

    def close(self):
        """Ends the connection without DISCONNECT."""
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()
        self.closed.wait(5)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self.closed.is_set():
            self.disconnect()

    # -- receiving

    def wait_messages(self, n, timeout=10):
        """Waits for at least n messages; all of them."""
        self._wait(lambda: len(self.messages) >= n, timeout, lambda: f"{n} messages; {len(self.messages)} came",
                   closed_is_error=False)
        return list(self.messages)

    def topics(self):
        return [p.topic for p in self.messages]

    def counts(self):
        """How often each (topic, payload) came."""
        return collections.Counter((p.topic, p.payload) for p in list(self.messages))

    def _answer(self, key):
        return self._wait(lambda: self.answers.get(key), None, f"answer to {key}")

    def _wait(self, condition, timeout, what, closed_is_error=True):
        end = time.monotonic() + (timeout or self.timeout)
        with self._changed:
            while True:
                result = condition()
                if result:
                    return result
                text = what() if callable(what) else what
                if closed_is_error and self.closed.is_set():
                    raise Disconnected(f"connection ended before {text} ({self.error})")
                left = end - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"not within {timeout or self.timeout} s: {text}")
                self._changed.wait(min(left, 0.5))

    def _read(self):
        decoder = m.Decoder(self.version)
        try:
            while data := self.socket.recv(65536):
                for packet in decoder.feed(data):
                    self._on_packet(packet)
        except (OSError, ValueError, m.ProtocolError) as e:
            self.error = e
        with self._changed:
            self.closed.set()
            self._changed.notify_all()

    def _on_packet(self, p):
        with self._changed:
            if p.type == m.PUBLISH:
                self.messages.append(p)
            elif p.type in (m.PUBACK, m.PUBCOMP) or (p.type == m.PUBREC and p.reason >= 0x80):
                self.acked[p.packet_id] = p
            elif p.type == m.CONNACK:
                self.answers["connack"] = p
            elif p.type in (m.SUBACK, m.UNSUBACK):
                self.answers[p.packet_id] = p
            elif p.type == m.PINGRESP:
                self.answers["pingresp"] = p
            elif p.type == m.DISCONNECT:
                self.disconnect_packet = p
            self._changed.notify_all()
        try:
            if p.type == m.PUBLISH and p.qos and self.auto_ack:
                self.send(m.Ack(m.PUBACK if p.qos == 1 else m.PUBREC, p.packet_id))
            elif p.type == m.PUBREC and p.reason < 0x80:
                self.send(m.Ack(m.PUBREL, p.packet_id))
            elif p.type == m.PUBREL:
                self.send(m.Ack(m.PUBCOMP, p.packet_id))
        except Disconnected:
            pass


class Accountant:
    """A stream of numbered QoS 1 messages that notes which were acknowledged; goes on by itself when the broker is back.

    A message whose PUBACK did not come before the connection broke is sent again under the same number (so it may arrive
    twice, as MQTT allows). sent, acked: sets of numbers. Payload: {"n": NUMBER, "pad": "xx..."}.
    """

    def __init__(self, port, topic="account/1", rate=200, window=20, size=0, host="127.0.0.1"):
        self.port, self.host, self.topic, self.rate, self.window = port, host, topic, rate, window
        self.pad = "x" * size
        self.sent, self.acked = set(), set()
        self.connections = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()
        return self

    def stop(self):
        """Ends the stream, after what is under way was acknowledged if the broker is there."""
        self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def payload(self, number):
        return b'{"n":%d,"pad":"%s"}' % (number, self.pad.encode())

    def _run(self):
        number, open_numbers = 0, []
        while not self._stop.is_set() or open_numbers:
            try:
                client = Client(self.port, f"account-{id(self):x}", self.host)
            except (OSError, Disconnected, AssertionError, Refused):
                if self._stop.is_set():
                    return
                time.sleep(0.05)
                continue
            self.connections += 1
            number, open_numbers = self._session(client, number, open_numbers)
            client.close()

    def _session(self, client, number, again):
        """One connection; the next number and what is still without PUBACK."""
        waiting = {}
        start, count = time.monotonic(), 0
        try:
            while True:
                for packet_id in [i for i in waiting if i in client.acked]:
                    self.acked.add(waiting.pop(packet_id))
                    client.acked.pop(packet_id)
                if self._stop.is_set() and not waiting and not again:
                    break
                if client.closed.is_set():
                    raise Disconnected
                due = count < (time.monotonic() - start) * self.rate
                if len(waiting) < self.window and (again or (due and not self._stop.is_set())):
                    n = again.pop(0) if again else number
                    if n == number:
                        number += 1
                        count += 1
                    self.sent.add(n)
                    packet_id = client.next_id()
                    waiting[packet_id] = n
                    client.send(m.Publish(self.topic, self.payload(n), 1, packet_id=packet_id))
                else:
                    time.sleep(0.001)
        except Disconnected:
            pass
        for packet_id in [i for i in waiting if i in client.acked]:
            self.acked.add(waiting.pop(packet_id))
        return number, sorted([*waiting.values(), *again])


def numbers(payloads):
    """The numbers in an Accountant's payloads."""
    return {int(p[5:p.index(b",")]) for p in payloads if p.startswith(b'{"n":')}


__all__ = ["Accountant", "Client", "Disconnected", "Refused", "m", "numbers", "wait_until"]
