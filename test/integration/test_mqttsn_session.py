"""mqttsn-gateway against a real mosquitto: connecting, publishing, subscribing, wills, keep-alive."""

import struct
import time

from harness.process import wait_until
from mqttsn_client import (CONGESTION, CONNACK, DISCONNECT, INVALID_TOPIC_ID, NOT_SUPPORTED, PREDEFINED, PUBACK, PUBCOMP, PUBLISH,
                           PUBREC, PUBREL, REGISTER, SHORT, SUBACK, WILLTOPICREQ, Transport)
from mqttsn_harness import *  # noqa: F403


def settled(gateway, seconds=0.3):
    """What was published has reached the gateway's sessions."""
    time.sleep(seconds)


def test_qos_0_1_2_up(plain_broker, mqttsn, device):
    b = plain_broker()
    g = mqttsn(b)
    seen = b.recorder("a/b", "ab", qos=2)
    d = device(g, "dev1").connect()
    topic = d.register("a/b")
    assert d.register("a/b") == topic
    for qos in (0, 1, 2):
        d.publish(topic, b"qos %d" % qos, qos)
    d.publish(topic, b"kept", 1, retain=True)
    d.publish("ab", b"short", 1, kind=SHORT)
    assert [(m.topic, m.payload, m.qos) for m in seen.wait_messages(5)] == [
        ("a/b", b"qos 0", 0), ("a/b", b"qos 1", 1), ("a/b", b"qos 2", 2), ("a/b", b"kept", 1), ("ab", b"short", 1)]
    with b.recorder("a/b") as late:
        assert late.wait_messages(1)[0].retain
    assert d.publish(0x7777, b"x", 1, code=INVALID_TOPIC_ID)
    d.publish(0x7777, b"x", 0, code=INVALID_TOPIC_ID)
    d.publish(0, b"x", 1, code=INVALID_TOPIC_ID)
    d.publish(0xffff, b"x", 1, code=INVALID_TOPIC_ID)
    d.disconnect()


def test_qos2_is_taken_once(plain_broker, mqttsn, device):
    b = plain_broker()
    g = mqttsn(b)
    seen = b.recorder("once", qos=2)
    d = device(g, "dev1").connect()
    topic = d.register("once")
    msg_id = d.send_publish(topic, b"x", 2)
    d.expect(PUBREC, msg_id=msg_id)
    d.send_publish(topic, b"x", 2, dup=True, msg_id=msg_id)
    d.expect(PUBREC, msg_id=msg_id)
    for _ in range(2):
        d.send(PUBREL, struct.pack("!H", msg_id))
        d.expect(PUBCOMP, msg_id=msg_id)
    d.publish(topic, b"end", 2)
    assert [m.payload for m in seen.wait_messages(2)] == [b"x", b"end"]


def test_large_payload_both_ways(plain_broker, mqttsn, device):
    b = plain_broker()
    g = mqttsn(b)
    seen = b.recorder("large")
    d = device(g, "dev1").connect()
    topic = d.register("large")
    for size in (0, 1, 246, 247, 248, 255, 256, 1030, 1500, 9000, 60000):
        payload = bytes(1 + i % 255 for i in range(size))
        d.publish(topic, payload, 1)
        assert seen.wait_messages(1)[-1].payload == payload
        seen.messages.clear()
    d.subscribe("down", 1)
    for size in (0, 246, 247, 1030, 60000):
        b.publish("down", b"z" * size)
        assert len(d.receive().payload) == size
    b.publish("down", b"z" * 65100)  # fits no datagram
    b.publish("down", b"after")
    assert d.receive().payload == b"after"
    g.wait_log("reason=too-large")


def test_subscribe_down_0_1_2(plain_broker, mqttsn, device):
    b = plain_broker()
    g = mqttsn(b)
    b.publish("kept", b"retained", retain=True)
    d = device(g, "dev1").connect()
    assert d.subscribe("cmd/dev1", 2).qos == 2
    assert d.subscribe("kept", 1).topic_id
    m = d.receive()
    assert (m.topic, m.payload, m.retain) == ("kept", b"retained", True)
    for qos in (0, 1, 2):
        b.publish("cmd/dev1", b"q%d" % qos, qos)
        m = d.receive()
        assert (m.topic, m.payload, m.qos, m.retain, m.dup) == ("cmd/dev1", b"q%d" % qos, qos, False, False)
    d.subscribe("xy", 1, kind=SHORT)
    b.publish("xy", b"short")
    m = d.receive()
    assert (m.topic, m.topic_type) == ("xy", SHORT)
    d.unsubscribe("cmd/dev1")
    b.publish("cmd/dev1", b"unheard")
    b.publish("xy", b"heard")
    assert d.receive().payload == b"heard"
    d.subscribe("bad/#/filter", code=NOT_SUPPORTED)
    d.subscribe("x", 1)  # one character is no short name
    b.publish("x", b"one")
    assert d.receive().topic == "x"


def test_wildcards_register_first(plain_broker, mqttsn, device):
    b = plain_broker()
    g = mqttsn(b, "retry_interval 1s")
    d = device(g, "dev1").connect()
    assert d.subscribe("w/#", 1).topic_id == 0
    b.publish("w/1", b"first")
    p = d.receive_raw()
    assert p.kind == REGISTER and p.topic == "w/1"
    again = d.receive_raw(2)  # unanswered: sent again, nothing else before it
    assert again.kind == REGISTER and (again.topic_id, again.msg_id) == (p.topic_id, p.msg_id)
    d._handle(again)
    m = d.receive()
    assert (m.topic, m.payload, m.topic_id) == ("w/1", b"first", p.topic_id)
    d.refuse["w/no"] = NOT_SUPPORTED
    b.publish("w/no", b"refused")
    b.publish("w/no", b"refused too")
    b.publish("w/1", b"second")
    assert d.receive().payload == b"second"  # no PUBLISH on w/no before it
    g.wait_log("mqttsn.dropped.*topic-refused")
    # the device has forgotten the id: it is told again
    del d.topics[p.topic_id]
    b.publish("w/1", b"third")
    m = d.receive()
    assert (m.payload, m.topic_id) == (b"third", p.topic_id)


def test_retransmission_to_the_device(plain_broker, mqttsn, device):
    b = plain_broker()
    g = mqttsn(b, "retry_interval 500ms", "retry_count 2")
    d = device(g, "dev1").connect()
    d.subscribe("t", 1)
    d.silent = True
    b.publish("t", b"x")
    first, second, third = (d.expect(PUBLISH) for _ in range(3))
    assert not first.dup and second.dup and third.dup and first.msg_id == second.msg_id == third.msg_id
    d.quiet(1)  # out of reach: it waits
    d.ping()    # heard again
    assert d.expect(PUBLISH).dup
    d.send(PUBACK, struct.pack("!HHB", first.topic_id, first.msg_id, 0))
    d.quiet(1)
    # a device that is there and does not take it: dropped in the end, what is behind it comes
    b.publish("t", b"poison")
    b.publish("t", b"next")
    d.expect(PUBLISH)
    d.ping()
    while (p := d.expect(PUBLISH)).payload == b"poison":
        pass
    assert p.payload == b"next"
    g.wait_log("mqttsn.dropped.*unanswered")


def test_will_of_a_lost_client(plain_broker, mqttsn, device):
    b = plain_broker()
    g = mqttsn(b)
    seen = b.recorder("will/#")
    device(g, "dev1").connect(will=("will/1", b"gone", 1, True), keepalive=1)
    device(g, "dev2").connect(will=("will/2", b"never"), keepalive=60)
    device(g, "dev3").connect(will=("", b""), keepalive=1)  # empty: no will
    (m,) = seen.wait_messages(1, 5)
    assert (m.topic, m.payload) == ("will/1", b"gone")
    g.wait_status(clients=1, lost=2)
    assert g.stop() == 0
    assert len(seen.messages) == 1  # the end of the gateway is no reason for wills


def test_will_with_the_gateway_dead(plain_broker, mqttsn, device):
    b = plain_broker()
    g = mqttsn(b)
    seen = b.recorder("will/#", g.status_topic)
    d = device(g, "dev1").connect(will=("will/1", b"old"))
    d.update_will(message=b"new")
    d.update_will(topic="will/one")
    g.process.kill()
    wait_until(lambda: ("will/one", b"new") in [(m.topic, m.payload) for m in seen.messages])
    wait_until(lambda: seen.messages and b'"offline"' in seen.messages[-1].payload or
               any(b'"offline"' in m.payload for m in seen.messages))
    assert "will/1" not in seen.topics()


def test_will_updates(plain_broker, mqttsn, device):
    b = plain_broker()
    g = mqttsn(b)
    seen = b.recorder("will/#")
    d = device(g, "dev1").connect(will=("will/1", b"one"), keepalive=2)
    d.subscribe("cmd", 1)
    d.update_will(message=b"two")
    d.update_will(message=b"two")
    d.update_will(topic="will/2", qos=1, retain=True)
    d.update_will(topic="bad/#", code=NOT_SUPPORTED)
    b.publish("cmd", b"still subscribed")
    assert d.receive().payload == b"still subscribed"
    d.publish(d.register("a"), b"still publishing", 1)
    (m,) = seen.wait_messages(1, 8)
    assert (m.topic, m.payload) == ("will/2", b"two")
    e = device(g, "dev2").connect(will=("will/3", b"x"), keepalive=1)
    e.update_will(topic="")
    assert e.expect(DISCONNECT, timeout=4)  # lost
    time.sleep(0.3)
    assert "will/3" not in seen.topics()


def test_keepalive_frees_the_slot(plain_broker, mqttsn, device):
    b = plain_broker()
    g = mqttsn(b, "max_clients 3")
    for i in range(3):
        device(g, f"dev{i}").connect(keepalive=2)
    d = device(g, "late")
    d.connect(code=CONGESTION)  # an answer, not silence
    time.sleep(2)               # 50 % tolerance
    d.connect(code=CONGESTION)
    time.sleep(1.2)
    d.connect()
    g.wait_status(clients=1, lost=3)


def test_connect_refusals(plain_broker, mqttsn, device):
    b = plain_broker()
    g = mqttsn(b)
    for client_id in ("", "x" * 129, "\x01"):
        d = device(g, client_id)
        d.send_connect()
        assert d.expect(CONNACK).code == NOT_SUPPORTED
    d = device(g, "dev1")
    d.send_connect(protocol=2)
    assert d.expect(CONNACK).code == NOT_SUPPORTED
    good = device(g, "dev1").connect()
    d.send_connect(protocol=2)  # takes nobody's place
    assert d.expect(CONNACK).code == NOT_SUPPORTED
    good.ping()
    device(g, "x" * 80).connect()  # longer than the specification's 23: taken
    # each packet without a connection is answered
    d.send(0x16)
    d.expect(DISCONNECT)
    d.send_publish(1, b"x", 1)
    d.expect(DISCONNECT)
    d.disconnect()


def test_one_client_id_is_not_the_beginning_of_another(plain_broker, mqttsn, device):
    b = plain_broker()
    g = mqttsn(b)
    seen = b.recorder("from/#")
    ten = device(g, "dev10").connect()
    one = device(g, "dev1").connect()
    t1, t10 = one.register("from/1"), ten.register("from/10")
    one.publish(t1, b"1", 1)
    ten.publish(t10, b"10", 1)
    assert sorted(m.topic for m in seen.wait_messages(2)) == ["from/1", "from/10"]
    one.quiet(0.2)
    g.wait_status(clients=2)


def test_takeover(plain_broker, mqttsn, device):
    b = plain_broker()
    g = mqttsn(b)
    old = device(g, "dev1").connect(clean=False)
    old.subscribe("cmd", 1)
    new = device(g, "dev1").connect(clean=False)
    old.expect(DISCONNECT)
    new.topics = dict(old.topics)
    b.publish("cmd", b"for the new one")
    assert new.receive().payload == b"for the new one"
    old.quiet(0.3)
    old.send(0x16)
    old.expect(DISCONNECT)
    new.ping()
    g.wait_status(clients=1)
    # CleanSession: nothing is left
    third = device(g, "dev1").connect(clean=True)
    new.expect(DISCONNECT)
    b.publish("cmd", b"nobody")
    third.quiet(0.3)


def test_a_new_source_port(plain_broker, mqttsn, device):
    """NAT gives another port: PINGREQ with the client id is enough, CONNECT is, too."""
    b = plain_broker()
    g = mqttsn(b)
    d = device(g, "dev1").connect(clean=False)
    d.subscribe("cmd", 1)
    d.transport.close()
    d.transport = Transport(g.port)
    d.send(0x16, b"dev1")
    d.expect(0x17)
    b.publish("cmd", b"x")
    assert d.receive().payload == b"x"


def test_clean_session_false(plain_broker, mqttsn, device):
    b = plain_broker()
    g = mqttsn(b)
    d = device(g, "dev1").connect(clean=False)
    asked = d.register("asked/for")
    sub = d.subscribe("cmd/1", 1).topic_id
    d.subscribe("w/#", 1)
    d.disconnect()
    b.publish("cmd/1", b"while away")
    b.publish("w/2", b"while away, wild")
    d.connect(clean=False)
    got = {m.topic: m for m in (d.receive(), d.receive())}
    assert got["cmd/1"].payload == b"while away" and got["cmd/1"].topic_id == sub
    assert got["w/2"].payload == b"while away, wild"
    d.publish(asked, b"id is still good", 1)
    assert d.register("asked/for") == asked
    # also in another life of the gateway
    d.disconnect()
    g.stop()
    g2 = mqttsn(b, f"listener {g.port} 127.0.0.1", name="second")
    d.connect(clean=False)
    b.publish("cmd/1", b"after the restart")
    m = d.receive()
    assert (m.payload, m.topic_id) == (b"after the restart", sub)
    assert d.register("asked/for") == asked
    g2.wait_status(clients=1)


def test_predefined_topics_and_reload(plain_broker, mqttsn, device, tmp_path):
    b = plain_broker()
    file = tmp_path / "predefined"
    file.write_text("* 1 all/one\ndev1 1 dev1/one\ndev1 2 dev1/two\n")
    g = mqttsn(b, f"predefined_topics {file}")
    seen = b.recorder("#")
    d, other = device(g, "dev1").connect(), device(g, "dev2").connect()
    d.publish(1, b"a", 1, kind=PREDEFINED)
    other.publish(1, b"b", 1, kind=PREDEFINED)
    other.publish(2, b"c", 1, kind=PREDEFINED, code=INVALID_TOPIC_ID)
    wait_until(lambda: {("dev1/one", b"a"), ("all/one", b"b")} <= {(m.topic, m.payload) for m in seen.messages})
    assert d.subscribe(2, 1, kind=PREDEFINED).topic_id == 2
    b.publish("dev1/two", b"down")
    m = d.receive()
    assert (m.topic, m.topic_type) == (2, PREDEFINED)
    file.write_text("* 1 all/uno\n* nonsense\n")
    g.reload()
    g.wait_log(r"mqttsn.kept.*predefined:2")
    other.publish(1, b"old", 1, kind=PREDEFINED)
    file.write_text("* 1 all/uno\n")
    g.reload()
    other.publish(1, b"new", 1, kind=PREDEFINED)
    wait_until(lambda: {("all/one", b"old"), ("all/uno", b"new")} <= {(m.topic, m.payload) for m in seen.messages})


def test_qos_minus_one(plain_broker, mqttsn, device, tmp_path):
    b = plain_broker()
    file = tmp_path / "predefined"
    file.write_text("* 1 all/one\n")
    g = mqttsn(b, f"predefined_topics {file}")
    g.wait_log("uplink.connected")  # before that it would be dropped
    seen = b.recorder("all/#", "ab")
    d = device(g, "nobody")
    d.send_publish(1, b"predefined", 3, kind=PREDEFINED)
    d.send_publish("ab", b"short", 3, kind=SHORT)
    d.send_publish(9, b"unknown", 3, kind=PREDEFINED)
    d.send_publish("a#", b"wildcard", 3, kind=SHORT)
    got = {(m.topic, m.payload) for m in seen.wait_messages(2)}
    assert got == {("all/one", b"predefined"), ("ab", b"short")}
    d.quiet(0.3)  # never an answer
    d.connect()
    d.send_publish(1, b"connected", 3, kind=PREDEFINED)
    assert seen.wait_messages(3)[-1].payload == b"connected"
    off = mqttsn(b, f"predefined_topics {file}", "qos_minus_one false", name="off")
    device(off, "nobody").send_publish(1, b"x", 3, kind=PREDEFINED)
    off.wait_status(strangers=0, datagrams_received=1)
    assert len(seen.messages) == 3


def test_broker_refuses_publish_and_subscribe(plain_broker, mqttsn, device, tmp_path):
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite gateway/#\ntopic readwrite allowed\n")
    b = plain_broker(conf=f"acl_file {acl}")
    g = mqttsn(b)
    d = device(g, "dev1").connect()
    d.publish(d.register("allowed"), b"x", 1)
    d.publish(d.register("forbidden"), b"x", 1, code=NOT_SUPPORTED)
    d.publish(d.register("forbidden"), b"x", 0)
    d.ping()


def test_handshake_of_the_will_survives_losses(plain_broker, mqttsn, device):
    """A device that repeats each step, as if the answers had been lost."""
    b = plain_broker()
    g = mqttsn(b)
    d = device(g, "dev1")
    for _ in range(2):
        d.send_connect(will=True)
        d.expect(WILLTOPICREQ)
    for _ in range(2):
        d.send(0x07, b"\x00t")
        d.expect(0x08)
    for _ in range(3):
        d.send(0x09, b"w")
        d.expect(CONNACK)
    d.quiet(0.2)


def test_subscription_granted_after_a_repeat(plain_broker, mqttsn, device):
    b = plain_broker()
    g = mqttsn(b)
    d = device(g, "dev1").connect()
    body = struct.pack("!BH", 0x20, 7) + b"a/b"
    d.send(0x12, body)
    d.send(0x12, body)
    assert d.expect(SUBACK).code == 0
    p = d.wait(SUBACK, timeout=0.3)
    assert p is None or p.code == 0


def test_nothing_is_overtaken_by_the_next_connection(plain_broker, mqttsn, device):
    """What was sent right before DISCONNECT, or before a new will, arrives, and the old will is not published."""
    b = plain_broker(conf="max_queued_messages 0", verbose=False)
    g = mqttsn(b)
    seen = b.recorder("up/#", "will/#")
    d = device(g, "dev1")
    for i in range(20):
        d.connect(will=("will/old", b"x"))
        topic = d.register("up/1")
        for k in range(20):
            d.send_publish(topic, b"%d" % (i * 30 + k), 0)
        d.update_will(message=b"y%d" % i)
        for k in range(20, 30):
            d.send_publish(topic, b"%d" % (i * 30 + k), 0)
        d.disconnect()
    got = seen.wait_messages(600)
    assert [m.payload for m in got] == [b"%d" % n for n in range(600)]
