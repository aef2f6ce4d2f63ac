"""The stand-in for IoT Core keeps the table of limits that it is there for (test names give the row), and breaks as told."""

import collections
import socket
import ssl
import subprocess
import time

import pytest
from harness.mqtt import Client, Disconnected, Refused, m
from harness.process import free_port, wait_until

BOTH = pytest.mark.parametrize("version", [m.V311, m.V5])


@pytest.fixture
def g(gate):
    return gate()


def connect(g, identity, client_id="thing", **options):
    return Client(g.port, client_id, identity=identity, **options)


def expect_end(g, client, reason, what, version):
    assert client.closed.wait(5)
    if version == m.V5:
        assert client.disconnect_packet.reason == reason
    assert g.wait_events("violation")[-1]["what"] == what


# ---- TLS

def test_mosquitto_pub_and_sub(g, client_id):
    tls = ["-h", "localhost", "-p", str(g.port), "--cafile", client_id.ca, "--cert", client_id.cert, "--key", client_id.key]
    sub = subprocess.Popen(["mosquitto_sub", *tls, "-t", "a/#", "-q", "1", "-C", "3", "-v"], stdout=subprocess.PIPE, text=True)
    g.wait_events("subscribe")
    subprocess.run(["mosquitto_pub", *tls, "-t", "a/b", "-q", "1", "-l"], input=b"1\n2\n3\n", check=True, timeout=20)
    assert sub.communicate(timeout=20)[0] == "a/b 1\na/b 2\na/b 3\n"
    assert [(e["topic"], e["payload"], e["qos"]) for e in g.messages()] == [("a/b", b"1", 1), ("a/b", b"2", 1), ("a/b", b"3", 1)]
    e = g.events("tls")[0]
    assert (e["server_name"], e["subject"], e["version"]) == ("localhost", "gateway", "TLSv1.3")


def test_certificate_is_required(g, pki):
    context = ssl.create_default_context(cafile=str(pki.ca))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(socket.create_connection(("127.0.0.1", g.port)), server_hostname="localhost")
    g.wait_events("tls_failed")


def test_certificate_of_another_authority_is_refused(g, tmp_path):
    from harness.pki import Pki
    stranger = Pki(tmp_path / "other").client()
    context = ssl._create_unverified_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(stranger.cert, stranger.key)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(socket.create_connection(("127.0.0.1", g.port)), server_hostname="localhost")
    g.wait_events("tls_failed")


def test_server_name_is_required(g, client_id, pki):
    context = ssl.create_default_context(cafile=str(pki.ca))
    context.check_hostname = False
    context.load_cert_chain(client_id.cert, client_id.key)
    for name in (None, "elsewhere"):
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(socket.create_connection(("127.0.0.1", g.port)), server_hostname=name)
    assert [e["why"] for e in g.events("tls_failed") if "name" in e["why"]][0] == "no server name"


def test_alpn_on_the_443_port(gate, client_id):
    g = gate(alpn_port=free_port())
    with Client(g.alpn_port, "x", identity=client_id, alpn="x-amzn-mqtt-ca") as c:
        c.publish("a", b"")
    assert g.events("tls")[-1]["alpn"] == "x-amzn-mqtt-ca"
    with pytest.raises(Disconnected):
        Client(g.alpn_port, "x", identity=client_id)
    assert g.wait_events("violation")[-1]["what"] == "no ALPN on port 443"


# ---- limits

def test_publishes_over_the_rate_are_discarded_without_puback(g, client_id):
    c = connect(g, client_id)
    start = time.monotonic()
    for _ in range(150):
        c.publish("a", b"x", wait=False)
        time.sleep(0.0005)
    c.ping()
    taken = len(g.messages())
    seconds = time.monotonic() - start
    assert 100 <= taken <= 110 + 100 * seconds, f"in {seconds} s"
    assert len(c.acked) == taken
    assert len(g.events("publish", outcome="discarded")) == 150 - taken
    time.sleep(0.3)
    assert c.publish("a", b"y") == 0  # the rate has recovered


def test_bytes_over_the_rate_are_delayed(gate, client_id):
    g = gate(bytes_per_second=100 * 1024)
    c = connect(g, client_id)
    start = time.monotonic()
    for _ in range(5):
        c.publish("a", b"x" * 50 * 1024)
    assert 0.8 < time.monotonic() - start < 4


@BOTH
def test_receive_maximum(g, client_id, version):
    g.limit(publishes_per_second=0)
    g.fault("no_puback")
    c = connect(g, client_id, version=version)
    if version == m.V5:
        assert c.connack.properties["receive_maximum"] == 100
    for _ in range(101):
        c.publish("a", b"", wait=False)
    expect_end(g, c, 0x93, "Receive Maximum exceeded", version)
    assert len(g.messages()) == 100


@BOTH
def test_payload_over_128_kb_ends_the_connection(g, client_id, version):
    c = connect(g, client_id, version=version)
    assert c.publish("a", b"x" * 131072) == 0
    c.publish("a", b"x" * 131073, wait=False)
    expect_end(g, c, 0x95, "payload too large", version)


@BOTH
@pytest.mark.parametrize("topic, what", [("x" * 257, "topic too long"), ("ü" * 129, "topic too long"),
                                         ("a/b/c/d/e/f/g/h/i", "too many slashes"), ("$x/y", "reserved topic"),
                                         ("$SYS/x", "reserved topic"), ("$aws/things/t/shadow/other", "reserved topic")])
def test_topic_rules_end_the_connection(g, client_id, version, topic, what):
    c = connect(g, client_id, version=version)
    c.publish(topic, b"", wait=False)
    expect_end(g, c, 0x90, what, version)


def test_topics_within_the_rules(g, client_id):
    c = connect(g, client_id)
    for topic in ("x" * 256, "a/b/c/d/e/f/g/h", "$aws/rules/r/a/b/c/d/e/f/g/h", "$aws/things/t/shadow/update",
                  "$aws/things/t/shadow/name/n/update", "$aws/things/t/jobs/j/update"):
        c.publish(topic, b"")
    assert len(g.messages()) == 6


def test_qos_2(g, client_id):
    c = connect(g, client_id)
    c.publish("a", b"", qos=2, wait=False)
    c.ping()
    assert not c.acked and c.publish("a", b"") == 0  # 3.1.1: no answer
    c5 = connect(g, client_id, "thing5", version=m.V5)
    assert c5.connack.properties["maximum_qos"] == 1
    c5.publish("a", b"", qos=2, wait=False)
    expect_end(g, c5, 0x9B, "QoS 2", m.V5)


@BOTH
def test_retained_on_a_reserved_topic(g, client_id, version):
    c = connect(g, client_id, version=version)
    c.publish("$aws/things/t/shadow/update", b"{}", retain=True, wait=False)
    expect_end(g, c, 0x9A, "retained on a reserved topic", version)


def test_retained_by_exact_filter_only(g, client_id):
    c = connect(g, client_id)
    c.publish("r/1", b"kept", retain=True)
    c.subscribe("r/+")
    c.ping()
    assert not c.messages
    c.subscribe("r/1")
    assert c.wait_messages(1)[0].retain


@BOTH
def test_second_connection_ends_the_first(g, client_id, version):
    first = connect(g, client_id, version=version)
    second = connect(g, client_id, version=version)
    assert first.closed.wait(5)
    assert version == m.V311 or first.disconnect_packet.reason == 0x8E
    second.publish("a", b"")
    assert g.events("takeover")


@pytest.mark.parametrize("client, code", [("x" * 129, 2), ("$x", 2)])
def test_client_identifier(g, client_id, client, code):
    with pytest.raises(Refused) as e:
        connect(g, client_id, client)
    assert e.value.reason == code


def test_connect_rate(gate, client_id):
    g = gate(connects_per_second=1)
    connect(g, client_id).disconnect()
    with pytest.raises(Refused) as e:
        connect(g, client_id, version=m.V5)
    assert e.value.reason == 0x97
    connect(g, client_id, "other").disconnect()
    time.sleep(1.1)
    connect(g, client_id).disconnect()


def test_keep_alive_is_cut_at_one_and_a_half(gate, client_id):
    g = gate(keepalive_min=1)
    c = connect(g, client_id, keepalive=1, version=m.V5)
    time.sleep(1)
    c.ping()
    start = time.monotonic()
    expect_end(g, c, 0x8D, "keep-alive timeout", m.V5)
    assert 1.2 < time.monotonic() - start < 2.5


@pytest.mark.parametrize("asked, given", [(5, 30), (0, 1200), (5000, 1200), (60, 60)])
def test_keep_alive_range(g, client_id, asked, given):
    assert connect(g, client_id, version=m.V5, keepalive=asked).connack.properties["server_keep_alive"] == given


@BOTH
def test_eight_filters_a_packet_and_fifty_a_connection(g, client_id, version):
    c = connect(g, client_id, version=version)
    for i in range(6):
        c.subscribe(*[f"f/{i}/{j}" for j in range(8)])
    c.subscribe("g/1", "g/2")
    with pytest.raises(Refused) as e:
        c.subscribe("g/3")
    assert e.value.reason == (0x97 if version == m.V5 else 0x80)
    c.subscribe("g/1")
    c.send(m.Subscribe(99, [(f"h/{i}", 1) for i in range(9)]))
    expect_end(g, c, 0x97, "too many filters in SUBSCRIBE", version)


def test_topic_alias(g, client_id):
    c = connect(g, client_id, version=m.V5)
    assert c.connack.properties["topic_alias_maximum"] == 8
    c.publish("a/b", b"1", properties={"topic_alias": 8})
    c.publish("", b"2", properties={"topic_alias": 8})
    assert [e["topic"] for e in g.messages()] == ["a/b", "a/b"]
    c.publish("a/b", b"3", properties={"topic_alias": 9}, wait=False)
    expect_end(g, c, 0x94, "topic alias 9", m.V5)


def test_no_local_is_not_relied_on(g, client_id):
    c = connect(g, client_id, version=m.V5)
    c.send(m.Subscribe(1, [("x", 1 | 4)]))
    c.publish("x", b"")
    c.wait_messages(1)


def test_persistent_session_waits_and_drains_slowly(g, client_id):
    c = connect(g, client_id, clean=False)
    assert not c.connack.session_present
    c.subscribe("down/#")
    c.disconnect()
    for i in range(5):
        g.publish("down/x", str(i))
    start = time.monotonic()
    c = connect(g, client_id, clean=False)
    assert c.connack.session_present
    assert [p.payload for p in c.wait_messages(5)] == [b"0", b"1", b"2", b"3", b"4"]
    assert time.monotonic() - start > 0.3
    c.disconnect()
    assert not connect(g, client_id).connack.session_present


def test_unacknowledged_towards_the_client(g, client_id):
    c = connect(g, client_id, version=m.V5, auto_ack=False, properties={"receive_maximum": 3})
    c.subscribe("down")
    for i in range(5):
        g.publish("down", str(i))
    c.wait_messages(3)
    c.ping()
    assert len(c.messages) == 3
    c.send(m.Ack(m.PUBACK, c.messages[0].packet_id))
    c.wait_messages(4)
    assert g.wait_events("puback")[0]["topic"] == "down"


def test_shadow_answers(g, client_id):
    c = connect(g, client_id)
    c.subscribe("$aws/things/t/shadow/update/+")
    c.publish("$aws/things/t/shadow/update", b"{}")
    c.publish("$aws/things/t/shadow/update", b"x" * 9000)
    assert [p.topic.rsplit("/", 1)[1] for p in c.wait_messages(2)] == ["accepted", "rejected"]


@pytest.mark.parametrize("data, what", [
    (m.encode(m.Publish("a")), "PUBLISH before CONNECT"),
    (m.encode(m.Connect("x")) * 2, "unexpected CONNECT"),
    (m.encode(m.Connect("x")) + b"\x30\x03\x00\x01\xff", "string is not UTF-8"),
    (m.encode(m.Connect("x")) + b"\x36\x03\x00\x01a", "PUBLISH of QoS 3"),
    (m.encode(m.Connect("x")) + b"\x30\xff\xff\xff\xff\x01", "remaining length"),
    (m.encode(m.Connect("x")) + m.encode(m.Publish("a/#")), "wildcard in a topic name"),
    (m.encode(m.Connect("x")) + m.encode(m.Ack(m.PUBACK, 5)), "PUBACK of an unknown packet identifier"),
])
def test_protocol_violations_are_recorded(g, client_id, pki, data, what):
    context = ssl.create_default_context(cafile=str(pki.ca))
    context.load_cert_chain(client_id.cert, client_id.key)
    with context.wrap_socket(socket.create_connection(("127.0.0.1", g.port)), server_hostname="localhost") as s:
        s.sendall(data)
        s.settimeout(5)
        while s.recv(4096):
            pass
    assert what in g.wait_events("violation")[-1]["what"]


# ---- faults

def test_connack_refusals(g, client_id):
    g.fault("connack", 7, count=2)
    for _ in range(2):
        with pytest.raises(Refused) as e:
            connect(g, client_id)
        assert e.value.reason == 7
    connect(g, client_id)


@pytest.mark.parametrize("fault", ["close", "reset", "00112233"])
def test_connection_not_accepted(g, client_id, fault):
    g.fault("accept", fault, count=1)
    with pytest.raises((ssl.SSLError, ConnectionError, Disconnected)):
        connect(g, client_id)
    connect(g, client_id)


def test_silence(g, client_id):
    c = connect(g, client_id, timeout=1)
    g.fault("silent")
    with pytest.raises(AssertionError):
        c.publish("a", b"")
    with pytest.raises((AssertionError, TimeoutError)):
        connect(g, client_id, timeout=1)
    g.clear()
    assert c.closed.wait(5)
    connect(g, client_id)


@pytest.mark.parametrize("fault", ["close_after", "reset_after"])
def test_closes_after_publishes(g, client_id, fault):
    g.fault(fault, 3, count=1)
    c = connect(g, client_id)
    for _ in range(3):
        c.publish("a", b"", wait=False)
    assert c.closed.wait(5)
    assert len(g.messages()) == 3
    connect(g, client_id).publish("a", b"")


def test_disconnect_with_reason(g, client_id):
    g.fault("disconnect_after", [1, 0x8B], count=1)
    c = connect(g, client_id, version=m.V5)
    c.publish("a", b"", wait=False)
    assert c.closed.wait(5) and c.disconnect_packet.reason == 0x8B
    c = connect(g, client_id, version=m.V5)
    g.end("disconnect", 0x98)
    assert c.closed.wait(5) and c.disconnect_packet.reason == 0x98


def test_publish_faults(g, client_id):
    c = connect(g, client_id, version=m.V5, timeout=1)
    g.fault("discard", count=1)
    with pytest.raises(AssertionError):
        c.publish("a", b"1")
    g.fault("no_puback", count=1)
    with pytest.raises(AssertionError):
        c.publish("a", b"2")
    g.fault("puback", 0x87, count=1)
    assert c.publish("a", b"3") == 0x87
    g.fault("puback_delay", 0.3)
    start = time.monotonic()
    c.publish("a", b"4")
    assert time.monotonic() - start > 0.25
    assert [e["outcome"] for e in g.events("publish")] == ["discarded", "unacknowledged", "refused", "accepted"]


def test_subscribe_faults(g, client_id):
    c = connect(g, client_id, version=m.V5, timeout=1)
    g.fault("suback", {"b": 0x87})
    c.send(m.Subscribe(5, [("a", 1), ("b", 1)]))
    wait_until(lambda: 5 in c.answers)
    assert c.answers[5].codes == [1, 0x87]
    g.fault("no_suback", count=1)
    with pytest.raises(AssertionError):
        c.subscribe("c")
    g.fault("no_pingresp", count=1)
    with pytest.raises(AssertionError):
        c.ping()
    c.ping()


def test_trickle_and_garbage(g, client_id):
    g.fault("trickle", [1, 0.001])
    c = connect(g, client_id)
    c.publish("a", b"")
    g.fault("garbage", "ffffffffff", count=1)
    c = connect(g, client_id)
    assert c.closed.wait(5) or c.error
    g.clear()


def test_unknown_names_are_errors(g):
    for call in (lambda: g.fault("nonsense"), lambda: g.limit(nonsense=1)):
        with pytest.raises(ValueError, match="nonsense"):
            call()


def test_fast_enough(g, client_id):
    """Thousands of messages a second, so that it is not what is measured."""
    g.limit(publishes_per_second=0, bytes_per_second=0)
    c = connect(g, client_id)
    start = time.monotonic()
    n = 5000
    for first in range(0, n, 50):
        ids = [c.publish("a/b", b"%d" % (first + i), wait=False) for i in range(50)]
        c.wait_acked(ids[-1])
    rate = n / (time.monotonic() - start)
    assert rate > 1000
    assert collections.Counter(e["payload"] for e in g.messages()) == {b"%d" % i: 1 for i in range(n)}
