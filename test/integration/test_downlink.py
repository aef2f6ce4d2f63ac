"""Commands from the cloud: subscriptions, acknowledgement, prefixes, echoes."""

import time

import pytest
from harness.mqtt import m
from harness.process import wait_until


def test_commands_come_down(broker, far_side, client_id):
    b = broker(options=[*far_side.plugin_options(client_id), "topic commands/# in 1", 'topic # in 1 local/ remote/'])
    seen = b.recorder("#", version=m.V5)
    properties = {"content_type": "t", "response_topic": "r", "correlation_data": b"c", "user_property": [("k", "v")]}
    with far_side.client(version=m.V5) as c:
        wait_until(lambda: "SUBACK" in far_side.log or "SUBSCRIBE" in far_side.log)
        c.publish("commands/lamp", b"on", properties=properties)
        c.publish("remote/x/y", b"2")
        c.publish("other", b"no")
    got = {p.topic: p for p in seen.wait_messages(2)}
    assert got["commands/lamp"].payload == b"on" and got["commands/lamp"].properties == properties
    assert got["local/x/y"].payload == b"2"
    time.sleep(0.3)
    assert len(seen.messages) == 2


def test_the_cloud_does_not_speak_for_the_broker(broker, gate, client_id):
    """Topics that begin with '$' match only filters that do, without their prefix too; nor one that subscribers end their
    connections for. Acknowledged all the same: they would come again."""
    g = gate()
    b = broker(options=[*g.plugin_options(client_id), 'topic # in 1 "" gw/', "topic # in 1 $aws/things/t/ things/t/"])
    g.wait_events("subscribe")
    seen = [b.recorder(f) for f in ("#", "$CONTROL/#", "$SYS/broker/aws/spool/records", "$aws/#")]
    hostile = ["gw/$CONTROL/dynamic-security/v1", "gw/$SYS/broker/aws/spool/records", "gw/$aws/things/t/shadow/update",
               "gw/a\x01b", "gw/\uffff", "gw" + 202 * "/"]
    for topic in [*hostile, "things/t/shadow/update/delta", "gw/good"]:
        g.publish(topic, b"from above")
    g.wait_events("puback", len(hostile) + 2)
    wait_until(lambda: "good" in seen[0].topics() and seen[3].messages)
    assert [p.topic for s in seen for p in s.messages if p.payload == b"from above"] == ["good", "$aws/things/t/shadow/update/delta"]
    b.wait_log(r'downlink.dropped: .*topic="gw/\$CONTROL/dynamic-security/v1" error=access')


def test_at_most_eight_filters_a_packet(broker, gate, client_id):
    g = gate()
    broker(options=[*g.plugin_options(client_id), *[f"topic in/{i} in 1" for i in range(20)]])
    g.wait_connected()
    wait_until(lambda: sum(len(e["filters"]) for e in g.events("subscribe")) >= 20)
    assert all(len(e["filters"]) <= 8 for e in g.events("subscribe"))
    assert {f for e in g.events("subscribe") for f, _ in e["filters"]} == {f"in/{i}" for i in range(20)}
    assert not g.events("violation")


def test_refused_subscription_is_logged_by_filter(broker, gate, client_id):
    g = gate()
    g.fault("suback", {"in/secret": 0x87})
    b = broker(options=[*g.plugin_options(client_id), "topic in/open in 1", "topic in/secret in 1", "topic up in 1"])
    b.wait_log(r"in/secret")
    seen = b.recorder("in/#")
    g.publish("in/open", b"1")
    assert seen.wait_messages(1)[0].topic == "in/open"


@pytest.mark.parametrize("protocol, no_local", [("mqttv5", 1), ("mqttv5", 0), ("mqttv311", 0)])
def test_no_echo_loop_with_both(broker, gate, client_id, protocol, no_local):
    """A message published locally goes up once; one from above is not sent up again. Where the server honours No Local, ours does
    not come back down either."""
    g = gate(no_local=no_local)
    b = broker(options=[*g.plugin_options(client_id), f"iot_protocol {protocol}", "topic both/# both 1"])
    g.wait_events("subscribe")
    seen = b.recorder("both/#")
    b.publish("both/up", b"1")
    g.wait_messages(1)
    g.publish("both/down", b"2")
    wait_until(lambda: any(p.topic == "both/down" for p in seen.messages))
    time.sleep(0.5)
    assert [e["topic"] for e in g.messages()] == ["both/up"]
    down = sorted(p.topic for p in seen.messages)
    assert down == ["both/down", "both/up"] or (not no_local and down == ["both/down", "both/up", "both/up"])


def test_acknowledged_upwards_only_after_the_local_broker_has_it(broker, gate, client_id):
    g = gate()
    b = broker(options=[*g.plugin_options(client_id), "topic in/# in 1"])
    g.wait_events("subscribe")
    seen = b.recorder("in/#")
    for i in range(300):
        g.publish("in/x", str(i))
    seen.wait_messages(300)
    g.wait_events("puback", 300)
    assert [int(p.payload) for p in seen.messages] == list(range(300))


def test_commands_while_the_broker_was_away(broker, gate, client_id):
    """What is published while the gateway is away comes with its persistent session, or is at least not fatal."""
    g = gate()
    b = broker(options=[*g.plugin_options(client_id), "topic in/# in 1"])
    g.wait_events("subscribe")
    g.end("close")
    g.wait_events("subscribe", 2, 30)
    seen = b.recorder("in/#")
    g.publish("in/after", b"1")
    wait_until(lambda: "in/after" in seen.topics())


@pytest.mark.parametrize("protocol", ["mqttv5", "mqttv311"])
def test_persistent_session(broker, gate, client_id, protocol):
    """IoT Core keeps commands for an hour while the gateway is away."""
    g = gate()
    b = broker(options=[*g.plugin_options(client_id), f"iot_protocol {protocol}", "topic in/# in 1"])
    g.wait_events("subscribe")
    seen = b.recorder("in/#")
    g.fault("accept", "close")
    g.end("close")
    wait_until(lambda: g.events("closed"))
    for i in range(3):
        g.publish("in/x", str(i))
    g.clear()
    assert [p.payload for p in seen.wait_messages(3, timeout=60)] == [b"0", b"1", b"2"]
    b.wait_log("session=resumed")


@pytest.mark.parametrize("protocol", ["mqttv5", "mqttv311"])
def test_expired_session(broker, gate, client_id, protocol):
    g = gate(session_seconds=0)
    b = broker(options=[*g.plugin_options(client_id), f"iot_protocol {protocol}", "topic in/# in 1"])
    g.wait_events("subscribe")
    g.end("close")
    g.wait_events("subscribe", 2, 60)
    seen = b.recorder("in/#")
    g.publish("in/x", b"1")
    seen.wait_messages(1)
    assert "session=resumed" not in b.log
