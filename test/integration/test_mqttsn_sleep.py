"""Sleeping clients against a real mosquitto."""

import time

import pytest

from mqttsn_client import DISCONNECT, PINGREQ, PINGRESP, PUBLISH, Transport
from mqttsn_harness import *  # noqa: F403


@pytest.fixture(params=[False, True], ids=["links", "aggregate"])
def pair(request, plain_broker, mqttsn):
    b = plain_broker()
    return b, mqttsn(b, f"aggregate {'true' if request.param else 'false'}", "sleep_queue 10", "retry_interval 500ms")


def test_messages_wait(pair, device):
    b, g = pair
    d = device(g, "dev1").connect(keepalive=1)
    d.subscribe("cmd", 2)
    d.subscribe("w/#", 1)
    d.sleep(20)
    publish_and_settle(b, g, ("cmd", b"zero", 0), ("cmd", b"one", 1), ("w/x", b"wild", 1), ("cmd", b"two", 2))
    d.quiet(2)  # longer than the keep-alive: the sleep duration counts
    assert [m.payload for m in d.wake()] == [b"zero", b"one", b"wild", b"two"]
    d.quiet(0.5)
    assert d.wake() == []
    # from another address
    publish_and_settle(b, g, ("cmd", b"elsewhere", 1))
    d.transport.close()
    d.transport = Transport(g.port)
    assert [m.payload for m in d.wake()] == [b"elsewhere"]
    # CONNECT wakes and does not reset
    publish_and_settle(b, g, ("cmd", b"awake", 1))
    known = dict(d.topics)
    d.send_connect(clean=True, keepalive=60)
    d.topics = known
    d.expect(0x05)
    assert d.receive().payload == b"awake"
    b.publish("w/x", b"id still known")
    assert d.receive().payload == b"id still known"


def test_pingresp_after_the_last_acknowledgement(pair, device):
    b, g = pair
    d = device(g, "dev1").connect()
    d.subscribe("cmd", 1)
    d.sleep(30)
    publish_and_settle(b, g, ("cmd", b"1"), ("cmd", b"2"))
    d.silent = True
    d.send(PINGREQ, b"dev1")
    p = d.expect(PUBLISH)
    again = d.receive_raw(2)  # not acknowledged: the same again, no second message, no PINGRESP
    assert again.kind == PUBLISH and again.dup and again.msg_id == p.msg_id
    d.silent = False
    d._handle(again)
    assert d.expect(PINGRESP)
    assert [m.payload for m in d.waiting] == [b"1", b"2"]


def test_a_device_that_falls_asleep_again_loses_nothing(pair, device):
    b, g = pair
    d = device(g, "dev1").connect()
    d.subscribe("cmd", 1)
    d.sleep(60)
    publish_and_settle(b, g, ("cmd", b"x"))
    d.silent = True
    d.send(PINGREQ, b"dev1")
    assert d.wait(PINGRESP, timeout=3) is None
    d.silent = False
    assert [m.payload for m in d.wake()] == [b"x"]


def test_the_queue_has_a_ceiling(pair, device):
    b, g = pair
    d = device(g, "dev1").connect()
    d.subscribe("cmd", 1)
    d.sleep(60)
    with b.client() as c:
        for i in range(30):
            c.publish("cmd", b"%d" % i, 0)
        c.ping()
    g.wait_status(dropped=20)
    assert [m.payload for m in d.wake()] == [b"%d" % i for i in range(20, 30)]  # the oldest of QoS 0 go first


def test_what_does_not_fit_stays_with_the_broker(plain_broker, mqttsn, device):
    b = plain_broker()
    g = mqttsn(b, "sleep_queue 10")
    d = device(g, "dev1").connect()
    d.subscribe("cmd", 1)
    d.sleep(60)
    with b.client() as c:
        for i in range(50):
            c.publish("cmd", b"%02d" % i, 1)
    g.wait_status(queued_bytes=20)
    got = []
    while len(got) < 50:
        fresh = [m.payload for m in d.wake()]
        assert fresh
        got += fresh
        time.sleep(0.05)
    assert got == [b"%02d" % i for i in range(50)]
    g.wait_status(dropped=0, queued_bytes=0)


def test_sleep_is_supervised(pair, device):
    b, g = pair
    seen = b.recorder("will/#")
    d = device(g, "dev1").connect(will=("will/1", b"overslept"))
    d.sleep(1)
    time.sleep(1)
    assert d.wake() == []  # begins the time again
    time.sleep(1.2)
    assert not seen.messages
    assert seen.wait_messages(1, 3)[0].payload == b"overslept"
    d.send(PINGREQ, b"dev1")
    d.expect(DISCONNECT)
    g.wait_status(clients=0, lost=1)


def test_asleep_through_a_broker_restart(plain_broker, mqttsn, device):
    b = plain_broker()
    g = mqttsn(b)
    d = device(g, "dev1").connect()
    d.subscribe("cmd", 1)
    d.sleep(60)
    publish_and_settle(b, g, ("cmd", b"before"))
    b.restart()
    g.wait_status(20, clients=1, links=1)
    time.sleep(0.2)
    publish_and_settle(b, g, ("cmd", b"after"))
    assert [m.payload for m in d.wake()] == [b"before", b"after"]


def test_offline_messages_in_aggregate(plain_broker, mqttsn, device):
    """The broker knows one client only: the gateway keeps the messages of clients that are away."""
    b = plain_broker()
    g = mqttsn(b, "aggregate true")
    d = device(g, "dev1").connect(clean=False)
    d.subscribe("cmd", 1)
    d.disconnect()
    publish_and_settle(b, g, ("cmd", b"while away"))
    d.connect(clean=False)
    assert d.receive().payload == b"while away"
    d.connect(clean=True)
    d.disconnect()
    b.publish("cmd", b"nobody")
    d.connect(clean=True)
    d.quiet(0.3)


def test_a_lost_client_in_aggregate(plain_broker, mqttsn, device):
    """Without CleanSession, messages wait also for a client that fell silent, and outlast the broker's absence."""
    b = plain_broker()
    g = mqttsn(b, "aggregate true", "retry_interval 1s", "retry_count 1")
    d = device(g, "dev1").connect(clean=False, keepalive=1)
    d.subscribe("cmd", 1)
    d.silent = True
    b.publish("cmd", b"on its way")
    g.wait_status(lost=1)
    b.publish("cmd", b"while away")
    g.wait_status(queued_bytes=len(b"on its way") + len(b"while away"))
    b.kill9()
    b.start()
    g.wait_log("uplink.connected", count=2)
    b.process.wait_log("cmd")  # subscribed again
    publish_and_settle(b, g, ("cmd", b"after"))
    while d.receive_raw(0.1):
        pass
    d.silent = False
    d.connect(clean=False)
    assert [d.receive().payload for _ in range(3)] == [b"on its way", b"while away", b"after"]
