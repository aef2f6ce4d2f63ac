"""The test equipment itself: broker, client, relay, far side."""

import socket
import ssl

import pytest
from harness.mqtt import Accountant, Client, Disconnected, Refused, m, numbers
from harness.process import accepts, free_port, wait_until


def test_broker_and_client(plain_broker):
    b = plain_broker()
    for version in (m.V311, m.V5):
        seen = b.recorder("a/+", "$aws/#", version=version)
        properties = {"content_type": "text/plain", "user_property": [("k", "v")]} if version == m.V5 else None
        with b.client(version=version) as c:
            assert c.publish("a/b", b"1", properties=properties) in (0, 0x10)
            assert c.publish("$aws/things/t/shadow/update", b"2", qos=2) in (0, 0x10)
            c.publish("a/c", b"3", qos=0)
        got = seen.wait_messages(3)
        assert [(p.topic, p.payload) for p in got] == [("a/b", b"1"), ("$aws/things/t/shadow/update", b"2"), ("a/c", b"3")]
        if version == m.V5:
            assert got[0].properties == properties
        seen.disconnect()
    b.mosquitto_pub("-t", "a/b", "-m", "x")


def test_client_says_when_the_broker_goes(plain_broker):
    b = plain_broker()
    c = b.client()
    b.kill9()
    assert c.closed.wait(5)
    with pytest.raises(Disconnected):
        c.publish("a", b"")
    b.start()
    b.client().disconnect()


def test_broker_refusal_is_told(plain_broker):
    b = plain_broker(conf="clientid_prefixes good-")
    b.client("good-1").disconnect()
    with pytest.raises(Refused):
        b.client("bad-1")


def test_far_side_wants_a_certificate_of_its_authority(far_side, client_id, pki, tmp_path):
    seen = far_side.recorder("#")
    with Client(far_side.tls_port, "tls", identity=client_id) as c:
        c.publish("x", b"1")
    assert seen.wait_messages(1)[0].payload == b"1"
    context = ssl.create_default_context(cafile=str(pki.ca))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        s = context.wrap_socket(socket.create_connection(("127.0.0.1", far_side.tls_port)), server_hostname="localhost")
        s.sendall(m.encode(m.Connect("x")))
        assert s.recv(1) == b"never"


def test_accountant_over_a_restart(plain_broker):
    b = plain_broker(conf="persistence false")
    a = Accountant(b.port, rate=500).start()
    wait_until(lambda: len(a.acked) > 100)
    b.kill9()
    b.start()
    seen = b.recorder("account/#")
    before = len(a.acked)
    wait_until(lambda: len(a.acked) > before + 100)
    a.stop()
    assert a.acked == a.sent == set(range(len(a.sent)))
    assert a.connections == 2
    last = max(a.sent)
    wait_until(lambda: last in numbers(p.payload for p in list(seen.messages)))


def test_relay_cut_freeze_mend(plain_broker, relay):
    b = plain_broker()
    r = relay(b.port)
    c = Client(r.port, timeout=2)
    c.publish("a", b"1")
    r.freeze()
    with pytest.raises(AssertionError):
        c.publish("a", b"2")
    r.mend()
    c.publish("a", b"3")
    r.cut()
    assert c.closed.wait(5)
    assert not accepts(r.port)
    r.mend()
    with Client(r.port) as c:
        c.publish("a", b"4")
    slow = relay(b.port, chunk=1)
    with Client(slow.port) as c:
        c.publish("a", b"5" * 100)


def test_ports_are_free_and_different():
    ports = {free_port() for _ in range(50)}
    assert len(ports) == 50
    assert not any(accepts(p) for p in list(ports)[:5])


@pytest.mark.parametrize("kind", ["expired", "not_yet_valid", "large"])
def test_special_certificates(pki, kind):
    identity = getattr(pki, kind)()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.cert, identity.key)
    near, far = socket.socketpair()
    client = ssl.create_default_context(cafile=str(pki.ca))
    import threading
    thread = threading.Thread(target=lambda: _accept(context, far), daemon=True)
    thread.start()
    if kind == "large":
        client.wrap_socket(near, server_hostname="localhost").close()
    else:
        with pytest.raises(ssl.SSLCertVerificationError):
            client.wrap_socket(near, server_hostname="localhost")
        near.close()
    thread.join(5)


def _accept(context, s):
    try:
        context.wrap_socket(s, server_side=True).close()
    except (OSError, ssl.SSLError):
        s.close()
