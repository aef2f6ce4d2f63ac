"""The uplink against the stand-in that treats it as IoT Core does: limits, refusals, losses, dead links (issue 2, shown when 4
and 5; names after AWS IoT Device Advisor's where there is one)."""

import collections
import pathlib
import random
import re
import time

import pytest
from harness.mqtt import m, numbers
from harness.process import wait_until

PROTOCOLS = pytest.mark.parametrize("protocol", ["mqttv5", "mqttv311"])


@pytest.fixture
def up(broker, gate, client_id):
    """up(*options, **gate options): (broker with "topic # out 1", gate); the gate keeps what it needs before in `prepare`."""
    def make(*options, prepare=None, wait=True, lines=("topic # out 1",), **limits):
        g = gate(**limits)
        if prepare:
            prepare(g)
        b = broker(options=[*g.plugin_options(client_id), "iot_client_id gw", *lines, *options])
        if wait:
            g.wait_connected()
        return b, g
    return make


def burst(b, n, topic="a/b", size=0):
    """n acknowledged QoS 1 messages as fast as they are taken."""
    with b.client() as c:
        ids = [c.publish(topic, b'{"n":%d,"pad":"%s"}' % (i, b"x" * size), wait=False) for i in range(n)]
        for i in ids:
            c.wait_acked(i)


def settled(b, n, timeout):
    """Waits until n messages are confirmed or set aside."""
    wait_until(lambda: sum(int(b.sys(f"iotcore/{name}") or 0) for name in ("confirmed", "rejected")) == n, timeout)


def all_arrived(g, n, timeout):
    wait_until(lambda: len(numbers(e["payload"] for e in g.messages())) == n, timeout,
               lambda: f"{n} messages; {len(numbers(e['payload'] for e in g.messages()))} arrived; {dict(g.counters())}", 0.2)


# ---- limits

@pytest.mark.timing
def test_burst_of_1000_at_100_a_second(up):
    """All arrive in 10-12 s although the far side discards what is over 100/s without PUBACK; none twice."""
    b, g = up()
    start = time.monotonic()
    burst(b, 1000)
    all_arrived(g, 1000, 20)
    seconds = time.monotonic() - start
    assert 8.5 <= seconds <= 13, seconds
    assert not g.events("publish", outcome="discarded") and not g.events("violation")
    assert set(collections.Counter(e["payload"] for e in g.messages()).values()) == {1}


def test_rate_that_is_configured_too_high_recovers(up):
    """The far side discards, so PUBACKs are missing: resent, more slowly, until all have arrived."""
    b, g = up("iot_publish_rate 0", publishes_per_second=200, publishes_burst=100)
    burst(b, 400)
    all_arrived(g, 400, 90)
    assert g.events("publish", outcome="discarded")


@pytest.mark.timing
def test_byte_rate(up):
    b, g = up("iot_byte_rate 100k", lines=["topic # out 1"])
    start = time.monotonic()
    burst(b, 40, size=10000)
    all_arrived(g, 40, 20)
    assert 2.5 < time.monotonic() - start < 8


def test_receive_maximum_of_the_server(up):
    """No more unacknowledged publishes than the server takes, whatever is configured; the gate ends the connection otherwise."""
    b, g = up("iot_max_inflight 5000", "iot_publish_rate 0", prepare=lambda g: g.fault("puback_delay", 0.05),
              unacknowledged_in=7, publishes_per_second=0)
    burst(b, 100)
    all_arrived(g, 100, 30)
    assert not g.events("violation")


def test_max_inflight(up):
    b, g = up("iot_max_inflight 3", prepare=lambda g: g.fault("no_puback"))
    burst(b, 10)
    g.wait_messages(3)
    time.sleep(0.5)
    assert len(g.messages()) == 3


@PROTOCOLS
@pytest.mark.parametrize("topic, payload, word", [
    pytest.param("big", b"x" * (128 * 1024 + 1), "large", id="payload"),
    pytest.param("x" * 257, b"1", "topic", id="length"),
    ("a/b/c/d/e/f/g/h/i", b"1", "topic"),
    ("$aws/things/t/shadow/other", b"1", "topic"),
    ("$unknown/x", b"1", "topic"),
])
def test_what_aws_refuses_is_set_aside_and_blocks_nothing(up, protocol, topic, payload, word):
    b, g = up(f"iot_protocol {protocol}", lines=["topic # out 1", "topic $aws/# out 1", "topic $unknown/# out 1"])
    b.publish("before", b"1")
    b.publish(topic, payload)
    b.publish("after", b"2")
    assert [e["topic"] for e in g.wait_messages(2)] == ["before", "after"]
    rejected = b.spool.wait_rejected()[0]
    assert rejected["topic"] == topic and rejected["sink"] == "iotcore"
    assert word in rejected["reason"].lower()
    assert not g.events("violation") and len(g.events("connect")) == 1
    b.wait_sys("iotcore/rejected", "1")


def test_topics_at_the_limit_pass(up):
    b, g = up(lines=["topic # out 1", "topic $aws/# out 1"])
    topics = ["x" * 256, "a/b/c/d/e/f/g/h", "$aws/rules/r/a/b/c/d/e/f/g/h", "$aws/things/t/shadow/name/n/update"]
    for topic in topics:
        b.publish(topic, b"x" * (128 * 1024 if topic.startswith("x") else 2))
    assert [e["topic"] for e in g.wait_messages(4)] == topics
    assert not b.spool.rejected()


def test_retain_on_reserved_topics_does_not_end_the_connection(up):
    """IoT Core has no retained messages on $aws topics."""
    b, g = up(lines=["topic $aws/# out 1", "topic a out 1"])
    b.publish("$aws/things/t/shadow/update", b"{}", retain=True)
    b.publish("a", b"1")
    wait_until(lambda: any(e["topic"] == "a" for e in g.messages()))
    assert not g.events("violation")


def test_nothing_before_connack_and_no_qos_2(up):
    b, g = up(prepare=lambda g: g.fault("connack_delay", 1, count=1), wait=False)
    burst(b, 50)
    all_arrived(g, 50, 15)
    assert not g.events("violation")
    assert {e["qos"] for e in g.messages()} == {1}


def test_several_connections(up):
    b, g = up("iot_connections 3", wait=False)
    g.wait_connected(3)
    assert {e["client_id"] for e in g.events("connect")} == {"gw-1", "gw-2", "gw-3"}
    with b.client() as c:
        ids = [c.publish(f"t/{i % 10}", b'{"n":%d,}' % i, wait=False) for i in range(500)]
        c.wait_acked(ids[-1])
    all_arrived(g, 500, 20)
    used = collections.defaultdict(set)
    for e in g.messages():
        used[e["topic"]].add(e["conn"])
    assert all(len(c) == 1 for c in used.values())
    assert len(set.union(*used.values())) > 1


def test_a_busy_topic_does_not_hold_back_another_connection(up):
    """60 messages at 20 a second on one connection; what comes behind them for another one does not wait for them."""
    b, g = up("iot_connections 2", "iot_publish_rate 20", wait=False)
    g.wait_connected(2)
    for i in range(8):
        b.publish(f"t/{i}", b"first")
    by_connection = {e["conn"]: e["topic"] for e in g.wait_messages(8)}
    busy, other = by_connection.values()
    with b.client() as c:
        for i in range(60):
            c.publish(busy, b'{"n":%d,}' % i, wait=False)
        c.wait_acked(c.publish(other, b"second", wait=False))
    wait_until(lambda: any(e["payload"] == b"second" for e in g.messages()), 2)
    assert len(g.messages()) < 60
    all_arrived(g, 60, 10)
    assert [e["payload"] for e in g.messages() if e["topic"] == busy][1:] == [b'{"n":%d,}' % i for i in range(60)]


# ---- messages that come alone

def sleeps_of_loop(b):
    """A function: how often the plugin's loop thread has gone to sleep so far."""
    tasks = pathlib.Path(f"/proc/{b.process.pid}/task").iterdir()
    loop = min((t for t in tasks if (t / "comm").read_text().strip() == "mosquitto-aws"), key=lambda t: int(t.name))
    return lambda: int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", (loop / "status").read_text(), re.M)[1])


def test_alone_without_a_second_thread(up):
    """The broker's thread sends them itself: the plugin's need not wake up."""
    b, g = up(prepare=lambda g: g.fault("no_puback"))
    sleeps = sleeps_of_loop(b)
    with b.client() as c:
        c.publish("a", b"first")
        g.wait_messages(1)
        before = sleeps()
        for i in range(30):
            c.publish("a", b'{"n":%d,}' % i)
            time.sleep(0.01)
        g.wait_messages(31)
        assert sleeps() - before < 15


@pytest.mark.timing
def test_alone_and_acknowledged_together(up):
    """At several hundred a second the plugin's thread wakes up once for some PUBACKs, not for each."""
    b, g = up("iot_publish_rate 0", publishes_per_second=0)
    sleeps = sleeps_of_loop(b)
    n = 500
    with b.client() as c:
        before = sleeps()
        for i in range(n):
            c.publish("a", b'{"n":%d,}' % i, wait=False)
            time.sleep(0.0007)
        settled(b, n, 10)
        count = sleeps() - before
    all_arrived(g, n, 10)
    assert count < 0.6 * n


def test_alone_and_together_in_order(up):
    """Messages that the broker's thread sends, and batches of the plugin's, in any mixture: in order, each once."""
    random.seed(7)
    b, g = up("iot_publish_rate 0", "store #", publishes_per_second=0)
    n = 600
    with b.client() as c:
        ids = []
        for i in range(n):
            ids.append(c.publish("a/b", b'{"n":%d,}' % i, wait=False))
            time.sleep(random.choice((0, 0, 0, 0.0005, 0.002)))
        for i in ids:
            c.wait_acked(i)
    all_arrived(g, n, 20)
    assert [e["payload"] for e in g.messages()] == [b'{"n":%d,}' % i for i in range(n)]
    settled(b, n, 10)
    b.wait_drained("sqlite")
    assert b.store.count() == n


def test_alone_and_too_large_for_the_server(up):
    """Found when it is sent, which the broker's thread does: it is set aside at once all the same."""
    b, g = up(maximum_packet_size=2000)
    b.publish("a", b"x" * 3000)
    b.publish("a", b'{"n":0,}')
    all_arrived(g, 1, 10)
    wait_until(lambda: b.sys("iotcore/rejected") == "1", 4)


# ---- losses and refusals

@PROTOCOLS
@pytest.mark.parametrize("fault", ["close_after", "reset_after"])
def test_reconnect_on_unstable_connection(up, protocol, fault):
    """Everything arrives although the server ends the connection again and again."""
    b, g = up(f"iot_protocol {protocol}", prepare=lambda g: g.fault(fault, 20, count=3))
    burst(b, 150)
    all_arrived(g, 150, 40)
    assert len(g.events("connect")) == 4


def test_reconnect_on_server_disconnect(up):
    b, g = up()
    for reason, words in ((0x8B, "shut"), (0x98, "admin"), (0x97, "quota")):
        connects = len(g.events("connack", code=0))
        g.end("disconnect", reason)
        g.wait_events("connack", connects + 1, 40, code=0)
        b.wait_log(f"(?i){words}")
    b.publish("a", b'{"n":0,}')
    all_arrived(g, 1, 10)


def test_publish_retry_without_puback(up):
    b, g = up(prepare=lambda g: g.fault("no_puback", count=5))
    burst(b, 20)
    settled(b, 20, 60)
    arrived = collections.Counter(e["payload"] for e in g.messages())
    assert len(arrived) == 20 and max(arrived.values()) <= 3
    assert g.events("publish", outcome="unacknowledged")


def test_no_pingresp_is_noticed(up):
    b, g = up("iot_keepalive 5s", prepare=lambda g: g.fault("no_pingresp", count=1), keepalive_min=1)
    g.wait_connected(2, 40)


def test_half_open_link(up):
    """The far side falls silent without closing. It is noticed, and what was sent meanwhile arrives afterwards."""
    b, g = up("iot_keepalive 5s", keepalive_min=1)
    g.fault("silent")
    burst(b, 30)
    time.sleep(6)
    g.clear()
    all_arrived(g, 30, 60)


@PROTOCOLS
@pytest.mark.parametrize("code_v5, code_v311, words", [(0x87, 7, "author"), (0x88, 3, "unavail"), (0x86, 4, "user|pass"),
                                                       (0x85, 2, "ident")])
def test_connack_refusals(up, protocol, code_v5, code_v311, words):
    """Said in plain words, tried again with backoff, and data is kept."""
    code = code_v5 if protocol == "mqttv5" else code_v311
    b, g = up(f"iot_protocol {protocol}", prepare=lambda g: g.fault("connack", code, count=2), wait=False)
    burst(b, 3)
    b.wait_log(f"(?i)({words})", 20)
    all_arrived(g, 3, 60)


def test_connect_jitter_backoff(up):
    """Few attempts in the first seconds, at uneven distances, each at most the backoff's next ceiling after the one before (unit
    base_backoff shows that the delays are spread evenly up to it)."""
    b, g = up(prepare=lambda g: g.fault("accept", "close"), wait=False)
    time.sleep(8)
    times = [e["t"] for e in g.events("accept")]
    assert 2 <= len(times) <= 20
    gaps = [b - a for a, b in zip(times, times[1:])]
    assert all(gap < 1.5 + 2 ** n for n, gap in enumerate(gaps)), gaps
    assert len(gaps) < 3 or max(gaps) > 1.2 * min(gaps), gaps
    g.clear()
    g.wait_connected(1, 60)


@PROTOCOLS
def test_takeover_does_not_become_a_fight(broker, gate, client_id, protocol, tmp_path):
    """Two gateways with one client identifier: each says so, and they do not throw each other out in a tight loop."""
    g = gate()
    options = [*g.plugin_options(client_id), "iot_client_id same", "topic # out 1", f"iot_protocol {protocol}"]
    b1 = broker(options=[*options, f"spool_dir {tmp_path}/s1"], name="one")
    g.wait_connected()
    broker(options=[*options, f"spool_dir {tmp_path}/s2"], name="two")
    g.wait_connected(2)
    g.wait_events("takeover")
    time.sleep(10)
    assert len(g.events("takeover")) <= 12
    if protocol == "mqttv5":
        b1.wait_log("(?i)(taken over|same client|another client)")


@pytest.mark.parametrize("code, forever", [(0x87, False), (0x97, False), (0x90, True), (0x99, True)])
def test_puback_with_an_error(up, code, forever):
    """A quota or policy may change: tried again. A topic that is refused as such is set aside."""
    b, g = up(prepare=lambda g: g.fault("puback", code, count=1))
    b.publish("bad", b'{"n":0,}')
    b.publish("good", b'{"n":1,}')
    wait_until(lambda: any(e["topic"] == "good" for e in g.messages()), 30)
    settled(b, 2, 40)
    taken = any(e["topic"] == "bad" for e in g.messages())
    assert taken or [r["topic"] for r in b.spool.rejected()] == ["bad"]
    if not forever:
        assert taken


@PROTOCOLS
def test_message_that_costs_the_connection_each_time(up, protocol):
    """It is found, set aside, and everything else arrives; here IoT Core takes shorter topics than we know of."""
    b, g = up(f"iot_protocol {protocol}", topic_bytes=20)
    with b.client() as c:
        for i in range(20):
            c.publish("a/topic/that/is/too/long" if i == 7 else "short", b'{"n":%d,}' % i, wait=False)
        c.wait_acked(c.publish("last", b'{"n":20,}', wait=False))
    settled(b, 21, 90)
    assert [r["topic"] for r in b.spool.rejected()] == ["a/topic/that/is/too/long"]
    assert "ends the connection" in b.spool.rejected()[0]["reason"]
    assert numbers(e["payload"] for e in g.messages()) == set(range(21)) - {7}


@PROTOCOLS
def test_garbage_from_the_server(up, protocol):
    b, g = up(f"iot_protocol {protocol}", prepare=lambda g: g.fault("garbage", "ff" * 40, count=2), wait=False)
    burst(b, 10)
    all_arrived(g, 10, 60)


@PROTOCOLS
def test_byte_by_byte(up, protocol):
    b, g = up(f"iot_protocol {protocol}", prepare=lambda g: g.fault("trickle", [1, 0]))
    burst(b, 30)
    all_arrived(g, 30, 20)
    assert len(g.events("connect")) == 1


def test_garbage_instead_of_tls(up):
    b, g = up(prepare=lambda g: g.fault("accept", "485454502f312e3120343030", count=2), wait=False)
    g.wait_connected(1, 40)


def test_subscribe_retry_without_suback(up):
    b, g = up(prepare=lambda g: g.fault("no_suback", count=1), lines=["topic in/# in 1"])
    g.wait_events("subscribe", 2, 60)
    seen = b.recorder("in/#")
    g.publish("in/x", b"1")
    seen.wait_messages(1)


def test_user_properties_pass_through(up):
    b, g = up()
    properties = {"content_type": "application/json", "user_property": [["a", "1"], ["a", "2"]]}
    with b.client(version=m.V5) as c:
        c.publish("p", b"{}", properties=properties)
    assert g.wait_messages(1)[0]["properties"] == properties


def test_notifications(up):
    b, g = up("iot_notifications state/uplink")
    seen = b.recorder("state/#")
    wait_until(lambda: [p.payload for p in seen.messages][-1:] == [b"1"])
    g.fault("accept", "close")
    g.end("close")
    wait_until(lambda: seen.messages[-1].payload == b"0")
    g.clear()
    wait_until(lambda: seen.messages[-1].payload == b"1", 40)
    late = b.recorder("state/#")
    assert late.wait_messages(1)[0].retain


def test_status_of_the_uplink(up):
    b, g = up()
    burst(b, 20)
    all_arrived(g, 20, 10)
    b.wait_sys("iotcore/confirmed", "20")
    assert b.sys("iotcore/state") == "running"
    assert b.sys("iotcore/lag") == "0" and b.sys("iotcore/dropped") == "0"
