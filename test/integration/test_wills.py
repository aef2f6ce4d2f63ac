"""Last wills, which mosquitto 2.0 shows to no plugin: captured through a session at the broker, and nothing else with them."""

import subprocess
import threading

import pytest
from harness.mqtt import Client, m
from harness.process import free_port, wait_until


@pytest.fixture
def watching(broker):
    """A broker that watches for wills, connected."""
    def make(*options, log="will.watching", **more):
        port = free_port()
        b = broker(options=[f"local_broker 127.0.0.1:{port}", *options], port=port, **more)
        b.wait_log(log)
        return b
    return make


def die(b, topic, payload, **more):
    """A client whose will is this comes and goes without DISCONNECT."""
    version = more.pop("version", m.V311)
    will = m.Will(topic, payload, more.pop("qos", 1), more.pop("retain", False), more.pop("properties", {}))
    Client(b.port, version=version, will=will, **more).close()


def test_a_will_becomes_a_row(watching):
    b = watching("will status/+", "store status/+")
    die(b, "status/pump", b'{"state":"dead"}')
    b.store.wait_count(1)
    assert b.store.rows()[0][0] == "pump" and b.store.messages("pump") == [{"state": "dead"}]
    with b.client(will=m.Will("status/pump", b'{"state":"dead"}', 1, False, {})):
        pass  # a clean end: no will
    die(b, "elsewhere/pump", b"not watched")
    die(b, "status/pump", b'{"state":"dead"}', qos=0)
    b.store.wait_count(2)
    b.wait_drained("sqlite")
    assert b.store.count() == 2


def test_a_will_goes_up_with_its_properties(watching, far_side, client_id):
    b = watching(*far_side.plugin_options(client_id), "topic here/status/# out 1", "will here/status/#")
    up = far_side.recorder("#", version=m.V5)
    properties = {"content_type": "text", "response_topic": "r", "correlation_data": b"c", "payload_format_indicator": 1,
                  "user_property": [("k", "v"), ("k", "w")]}
    die(b, "here/status/x", b"gone", version=m.V5, properties=properties)
    got = up.wait_messages(1)[0]
    assert got.payload == b"gone" and {k: got.properties[k] for k in properties} == properties


def test_what_was_captured_is_not_taken_again(watching):
    """Five clients publish on watched topics, with QoS 0 to 2 and equal texts among them, and die: a row for each message, one
    for each will, though its text is that of a message."""
    b = watching("will s/#", "store s/+")

    def work(n):
        will = m.Will(f"s/{n}", b'{"v":"same"}', 1, False, {})
        with b.client(will=will) as c:
            for i in range(300):
                c.publish(f"s/{n}", b'{"v":"same"}' if i % 3 == 0 else b'{"v":%d}' % i, qos=i % 3)
            c.close()
    threads = [threading.Thread(target=work, args=(n,)) for n in range(5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    b.store.wait_count(5 * 301, 30)
    b.wait_drained("sqlite")
    for n in range(5):
        messages = [x["v"] for x in b.store.messages(str(n))]
        assert len(messages) == 301 and messages.count("same") == 101, n
    assert b.store.count() == 5 * 301


def test_what_came_down_is_no_will(watching, gate, client_id):
    g = gate()
    b = watching(*g.plugin_options(client_id), "topic both/# both 1", "will both/#")
    g.wait_events("subscribe")
    seen = b.recorder("both/#")
    g.publish("both/down", b"command")
    seen.wait_messages(1)
    die(b, "both/gone", b"will")
    g.wait_messages(1)
    assert [e["topic"] for e in g.messages()] == ["both/gone"]


def test_retained_messages_are_not_wills(broker):
    port = free_port()
    b = broker(options=["store s/+"], port=port)
    b.publish("s/old", b"1", retain=True)
    b.store.wait_count(1)
    b.options += [f"local_broker 127.0.0.1:{port}", "will s/#"]
    b.global_conf = f"persistence true\npersistence_location {b.directory}/"
    b.restart()
    b.publish("s/old", b"1", retain=True)
    b.restart()
    b.wait_log("will.watching")
    die(b, "s/new", b"2", retain=True)
    b.store.wait_count(3)
    b.wait_drained("sqlite")
    assert b.store.count() == 3


def test_a_spool_that_refuses_gets_the_will_later(watching, gate, client_id):
    """spool_full reject: a will waits at the broker until there is room."""
    g = gate(publishes_per_second=0)
    g.fault("accept", "close")
    b = watching(*g.plugin_options(client_id), "topic f/# out 1", "will f/status/#", "spool_max_size 1M", "spool_full reject",
                 "iot_publish_rate 0")
    with pytest.raises(Exception):
        with b.client() as c:
            for _ in range(3000):
                c.publish("f/x", b"x" * 1000)
    die(b, "f/status/1", b"w" * 1000)
    b.wait_log("will.again")
    g.clear()
    wait_until(lambda: any(e["topic"] == "f/status/1" for e in g.messages()), 30, "the will")
    b.wait_drained("iotcore", 60)
    assert sum(e["topic"] == "f/status/1" for e in g.messages()) == 1


def test_users_and_rights(watching, tmp_path):
    """The session logs in; a refusal is told and tried again."""
    passwords, acl = tmp_path / "passwords", tmp_path / "acl"
    subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, "plugin", "secret"], check=True, capture_output=True)
    passwords.chmod(0o644)
    acl.write_text("user plugin\ntopic read allowed/#\n")
    acl.chmod(0o644)
    conf = f"password_file {passwords}\nacl_file {acl}"
    b = watching("will allowed/#", "store allowed/#", "local_username plugin", "local_password wrong", conf=conf, log="uplink.refused")
    b.set_option("local_password", "secret")
    b.restart()
    b.wait_log("will.watching.*filters=1")


def test_the_session_comes_back(watching):
    """Somebody takes its client id: it connects again."""
    b = watching("will s/#", "store s/+", "iot_client_id gateway")
    with b.client("gateway-wills"):
        b.wait_log("uplink.lost")
    b.wait_log("will.watching", count=2)
    die(b, "s/1", b"1")
    b.store.wait_count(1)
