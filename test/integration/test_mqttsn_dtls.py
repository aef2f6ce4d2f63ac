"""MQTT-SN over DTLS 1.2, with the openssl program and a small tool as clients."""

import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import termios
import time

import pytest

from harness.process import free_port, wait_until
from mqttsn_client import CONNACK, FORWARDER, NOT_SUPPORTED
from mqttsn_harness import *  # noqa: F403

KEY = "00112233445566778899aabbccddeeff"
OTHER_KEY = "ffeeddccbbaa99887766554433221100"


class DtlsTransport:
    """`openssl s_client` as a DTLS device: what is written to it is one record, what it prints is what came."""

    def __init__(self, port, *arguments):
        self.process = subprocess.Popen(
            ["openssl", "s_client", "-dtls1_2", "-connect", f"127.0.0.1:{port}", "-quiet", "-no_ign_eof", *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.buffer = b""

    def send(self, data):
        # Two writes at once would be read, and sent, as one.
        wait_until(lambda: self._unread() == 0, 20, "s_client to read")
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def _unread(self):
        return struct.unpack("i", fcntl.ioctl(self.process.stdin, termios.FIONREAD, bytes(4)))[0]

    def _size(self, at):
        return self.buffer[at] if self.buffer[at] != 1 else struct.unpack_from("!H", self.buffer, at + 1)[0]

    def receive(self, timeout):
        end = time.monotonic() + timeout
        while True:
            if self.buffer:
                size = self._size(0)
                if self.buffer[1] == FORWARDER:  # whose length does not count what follows
                    size += self._size(size)
                if len(self.buffer) >= size:
                    data, self.buffer = self.buffer[:size], self.buffer[size:]
                    return data
            if not select.select([self.process.stdout], [], [], max(end - time.monotonic(), 0))[0]:
                return None
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                return None
            self.buffer += more

    def refused(self, timeout=10):
        """The handshake failed."""
        try:
            return self.process.wait(timeout) != 0
        except subprocess.TimeoutExpired:
            return False

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for f in (self.process.stdin, self.process.stdout, self.process.stderr):
            f.close()


@pytest.fixture
def psk_file(tmp_path):
    path = tmp_path / "psk"
    path.write_text(f"dev-one {KEY}\ndev-two {OTHER_KEY}\n")
    return path


def psk(identity="dev-one", key=KEY):
    return ["-psk_identity", identity, "-psk", key, "-cipher", "PSK"]


def test_psk(plain_broker, mqttsn, device, psk_file):
    b = plain_broker()
    port = free_port()
    g = mqttsn(b, f"dtls_listener {port}", f"dtls_psk_file {psk_file}", f"listener {free_port()} 127.0.0.1")
    seen = b.recorder("a")
    d = device(port, "dev1", transport=DtlsTransport(port, *psk())).connect(keepalive=30)
    topic = d.register("a")
    for qos in (0, 1, 2):
        d.publish(topic, b"%d" % qos, qos)
    assert [m.payload for m in seen.wait_messages(3)] == [b"0", b"1", b"2"]
    d.subscribe("cmd", 1)
    b.publish("cmd", b"x" * 1000)
    assert d.receive().payload == b"x" * 1000
    # behind a forwarder, in the same session
    shared = device(port, "dev2", transport=d.transport, node=b"\x07").connect()
    shared.ping()
    d.ping()
    for bad in (psk(key=OTHER_KEY), psk(identity="nobody")):
        stranger = device(port, "stranger", transport=DtlsTransport(port, *bad))
        stranger.send_connect()
        assert stranger.wait(CONNACK, timeout=1.5) is None
    g.wait_log("mqttsn.dtls-refused")
    # keys are read again
    psk_file.write_text(f"dev-three {KEY}\n")
    g.reload()
    d3 = device(port, "dev3", transport=DtlsTransport(port, *psk("dev-three"))).connect()
    d3.ping()
    d.ping()  # sessions that are there stay
    # one without keep-alive ends with its DTLS session
    d0 = device(port, "dev0", transport=DtlsTransport(port, *psk("dev-three"))).connect(keepalive=0)
    g.wait_status(clients=4)
    d0.transport.process.stdin.close()
    g.wait_status(clients=3)
    assert g.stop() == 0


def test_certificates(plain_broker, mqttsn, device, pki, server_id):
    b = plain_broker()
    port, asking = free_port(), free_port()
    worn = pki.expired()
    g = mqttsn(b, f"dtls_listener {asking} 127.0.0.1", f"dtls_certfile {worn.cert}", f"dtls_keyfile {worn.key}",
               f"broker_certfile {worn.cert}", f"broker_keyfile {worn.key}", name="worn")
    g.wait_log(f"certificate.expired: .*option=dtls_certfile file='{worn.cert}'")
    g.wait_log(f"certificate.expired: .*option=broker_certfile file='{worn.cert}'")
    g.stop()
    mqttsn(b, f"dtls_listener {port} 127.0.0.1", f"dtls_certfile {server_id.cert}", f"dtls_keyfile {server_id.key}")
    d = device(port, "dev1", transport=DtlsTransport(port, "-CAfile", pki.ca, "-verify_return_error")).connect()
    d.ping()
    g = mqttsn(b, f"dtls_listener {asking} 127.0.0.1", f"dtls_certfile {server_id.cert}", f"dtls_keyfile {server_id.key}",
               f"dtls_cafile {pki.ca}", name="asking")
    t = DtlsTransport(asking, "-CAfile", pki.ca)
    assert t.refused(15)
    t.close()
    one = pki.client("device-one")
    d = device(asking, "dev2", transport=DtlsTransport(asking, "-CAfile", pki.ca, "-cert", one.cert, "-key", one.key))
    d.connect()
    d.ping()
    g.wait_status(clients=1)


def test_identity_of_a_client(plain_broker, mqttsn, device, psk_file, tmp_path):
    """clients_file binds a client id to an identity; a session made over DTLS cannot be taken from without."""
    b = plain_broker()
    clients = tmp_path / "clients"
    clients.write_text("bound dtls=dev-one\n")
    port, plain = free_port(), free_port()
    g = mqttsn(b, f"listener {plain} 127.0.0.1", f"dtls_listener {port} 127.0.0.1", f"dtls_psk_file {psk_file}",
               f"clients_file {clients}")
    device(plain, "bound").connect(code=NOT_SUPPORTED)
    two = DtlsTransport(port, *psk("dev-two", OTHER_KEY))
    device(port, "bound", transport=two).connect(code=NOT_SUPPORTED)
    d = device(port, "bound", transport=DtlsTransport(port, *psk())).connect()
    free = device(port, "free", transport=two).connect()
    thief = device(plain, "free")
    thief.connect(code=NOT_SUPPORTED)
    thief.send(0x16, b"free")
    thief.expect(0x18)
    free.ping()
    d.ping()
    g.wait_log("mqttsn.identity", count=4)


def client_hello(cookie=b""):
    """A DTLS 1.2 ClientHello in one record."""
    body = (b"\xfe\xfd" + bytes(32) + b"\x00" + bytes([len(cookie)]) + cookie + struct.pack("!H", 2) + b"\x00\xae" +
            b"\x01\x00" + struct.pack("!H", 0))
    handshake = b"\x01" + len(body).to_bytes(3, "big") + b"\x00\x00" + b"\x00\x00\x00" + len(body).to_bytes(3, "big") + body
    return b"\x16\xfe\xfd" + bytes(8) + struct.pack("!H", len(handshake)) + handshake


def test_cookie_and_replay(plain_broker, mqttsn, device, psk_file):
    b = plain_broker()
    port = free_port()
    g = mqttsn(b, f"dtls_listener {port} 127.0.0.1", f"dtls_psk_file {psk_file}", f"listener {free_port()} 127.0.0.1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        for x in (s, other):
            x.connect(("127.0.0.1", port))
            x.settimeout(2)
        s.send(client_hello())
        answer = s.recv(2000)
        assert answer[0] == 0x16 and answer[13] == 3  # HelloVerifyRequest, nothing larger than the question
        assert len(answer) < len(client_hello()) + 32
        cookie = answer[28:28 + answer[27]]
        # another address with this cookie gets a new cookie, no ServerHello
        other.send(client_hello(cookie))
        assert other.recv(2000)[13] == 3
        for junk in (os.urandom(50), b"\x16\xfe\xfd" + os.urandom(60), b"\x17\xfe\xfd" + bytes(8) + b"\x00\x05hello", b"\x05"):
            s.send(junk)

    # a replayed record is not handled twice: through a relay that sends each of the device's datagrams twice
    relay = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    relay.bind(("127.0.0.1", 0))
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.connect(("127.0.0.1", port))
    import threading
    stop = threading.Event()

    def forward():
        device_address = None
        while not stop.is_set():
            for ready in select.select([relay, out], [], [], 0.1)[0]:
                if ready is relay:
                    data, device_address = relay.recvfrom(65536)
                    out.send(data)
                    out.send(data)
                elif device_address:
                    relay.sendto(out.recv(65536), device_address)
    thread = threading.Thread(target=forward, daemon=True)
    thread.start()
    seen = b.recorder("once")
    d = device(port, "dev1", transport=DtlsTransport(relay.getsockname()[1], *psk())).connect()
    topic = d.register("once")
    for i in range(10):
        d.send_publish(topic, b"%d" % i, 0)
    d.publish(topic, b"end", 1)
    time.sleep(0.3)
    assert [m.payload for m in seen.messages] == [b"%d" % i for i in range(10)] + [b"end"]
    stop.set()
    thread.join()
    relay.close()
    out.close()
    g.wait_status(clients=1)


def test_500_clients(plain_broker, mqttsn, device, build, psk_file):
    b = plain_broker()
    port, plain = free_port(), free_port()
    g = mqttsn(b, f"dtls_listener {port} 127.0.0.1", f"dtls_psk_file {psk_file}", f"listener {plain} 127.0.0.1")
    r = subprocess.run([build / "test" / "bench" / "sndtls", str(port), "500", "dev-one", KEY], capture_output=True, text=True,
                       timeout=120)
    result = json.loads(r.stdout)
    assert r.returncode == 0 and result["started"] == result["again"] == 500, result
    d = device(plain, "plain").connect()
    d.ping()
    g.wait_status(clients=501)


def test_a_device_that_starts_again(plain_broker, mqttsn, device, psk_file):
    """Killed without a close: a new handshake, another port; CONNECT takes the session over."""
    b = plain_broker()
    port = free_port()
    g = mqttsn(b, f"dtls_listener {port} 127.0.0.1", f"dtls_psk_file {psk_file}", f"listener {free_port()} 127.0.0.1")
    d = device(port, "dev1", transport=DtlsTransport(port, *psk())).connect(clean=False)
    d.subscribe("cmd", 1)
    d.sleep(100)
    d.transport.process.kill()
    publish_and_settle(b, g, ("cmd", b"while away"))
    d.transport.close()
    d.transport = DtlsTransport(port, *psk())
    assert d.wake()[0].payload == b"while away"
    d.transport.close()
    d.transport = DtlsTransport(port, *psk())
    d.send_connect(clean=False)
    assert d.expect(CONNACK).code == 0
    b.publish("cmd", b"again")
    assert d.receive().payload == b"again"
    wait_until(lambda: g.status()["clients"] == 1)
