"""Which messages go where, and what arrives there: `topic` and `store` lines, prefixes, overlaps, mapping."""

import json
import re
import shutil

import pytest
from harness.mqtt import m

PROPERTIES = {"content_type": "text/x", "response_topic": "re", "correlation_data": b"\0\1", "payload_format_indicator": 1,
              "user_property": [("a", "1"), ("a", "2")]}


@pytest.fixture
def linked(broker, far_side, client_id):
    """linked(*options): a broker connected to the far side; (broker, recorder of everything at the far side)."""
    def make(*options, **more):
        seen = far_side.recorder("#", "$aws/#", version=m.V5)
        b = broker(options=[*far_side.plugin_options(client_id), *options], **more)
        return b, seen
    return make


def arrived(seen, n, timeout=10):
    return sorted((p.topic, p.payload) for p in seen.wait_messages(n, timeout))


def test_the_original_payload_and_a_plain_one(linked):
    """Issue 2, shown when 2: right rows in SQLite, right topics at a broker that requires client certificates."""
    b, seen = linked("topic $aws/things/+/shadow/update out 1", "topic sensors/# out 1",
                     "store $aws/things/+/shadow/update", "store sensors/+/climate")
    reading = b'{"state":{"desired":{"temperature":21.50,"humidity":40}}}'
    b.mosquitto_pub("-q", "1", "-t", "$aws/things/test/shadow/update", "-m", reading.decode())
    b.mosquitto_pub("-q", "1", "-t", "sensors/kitchen/climate", "-m", '{"temperature": 1.10}')
    b.mosquitto_pub("-q", "1", "-t", "elsewhere", "-m", "1")
    assert arrived(seen, 2) == [("$aws/things/test/shadow/update", reading),
                                ("sensors/kitchen/climate", b'{"temperature": 1.10}')]
    b.store.wait_count(2)
    rows = b.store.rows()
    assert [(r[0], r[2]) for r in rows] == [("kitchen", "sensors/kitchen/climate"), ("test", "$aws/things/test/shadow/update")]
    assert [json.loads(r[3], parse_float=str) for r in rows] == [{"temperature": "1.10"},
                                                               {"temperature": "21.50", "humidity": 40}]
    assert b.store.query("SELECT sensor, count FROM sensor ORDER BY sensor") == [("kitchen", 1), ("test", 1)]


@pytest.mark.parametrize("line, local, remote", [
    ("topic a/# out 1", "a/b", "a/b"),
    ("topic a/#", "a", "a"),
    ("topic # out 1 site/ cloud/", "site/x/y", "cloud/x/y"),
    ("topic # out 1 site/", "site/x", "x"),
    ('topic # out 1 "" cloud/', "x", "cloud/x"),
    ("topic temp/+ out 1 site/ plant/7/", "site/temp/1", "plant/7/temp/1"),
    ("topic $aws/things/+/shadow/update out 1", "$aws/things/t/shadow/update", "$aws/things/t/shadow/update"),
    ("topic shadow/update out 1 thing/ $aws/things/t/", "thing/shadow/update", "$aws/things/t/shadow/update"),
])
def test_prefixes_as_of_a_bridge(linked, line, local, remote):
    b, seen = linked(line)
    b.publish(local, b"x")
    assert arrived(seen, 1) == [(remote, b"x")]


def test_what_does_not_match_stays(linked):
    b, seen = linked("topic a/+ out 1", "topic # out 1 site/ cloud/", "topic down/# in 1")
    for topic in ("a", "a/b/c", "b", "down/x", "$aws/a", "sited/x"):
        b.publish(topic, b"no")
    b.publish("a/yes", b"1")
    assert arrived(seen, 1) == [("a/yes", b"1")]


def test_a_prefix_is_no_way_into_reserved_topics(linked):
    """Who may publish below LOCAL-PREFIX may not write the shadows of other things; the stores take it all the same."""
    b, seen = linked("topic # out 1 site/", "topic # out 1 own/ $aws/things/own/", "store site/# sensor=s")
    for topic in ("site/$aws/things/other/shadow/update", "site/$SYS/x", "site/$", "own/shadow/update", "site/yes"):
        b.publish(topic, b"{}")
    assert sorted(arrived(seen, 2)) == [("$aws/things/own/shadow/update", b"{}"), ("yes", b"{}")]
    b.wait_log(r'capture.reserved: .*topic="site/\$aws/things/other/shadow/update"')
    b.store.wait_count(4)


def test_first_matching_line_decides(linked):
    b, seen = linked("topic a/b out 1 \"\" first/", "topic a/# out 1 \"\" second/", "topic a/b/c out 1 \"\" third/",
                     "store a/+ sensor=one", "store a/# sensor=two")
    for topic in ("a/b", "a/c", "a/b/c"):
        b.publish(topic, b"{}")
    assert [t for t, _ in arrived(seen, 3)] == ["first/a/b", "second/a/b/c", "second/a/c"]
    b.store.wait_count(3)
    assert sorted((r[2], r[0]) for r in b.store.rows()) == [("a/b", "one"), ("a/b/c", "two"), ("a/c", "one")]


def test_qos_retain_and_properties(linked):
    b, seen = linked("topic q0/# out 0", "topic q1/# out 1", "topic q2/# out 2")
    with b.client(version=m.V5) as c:
        for topic in ("q0/x", "q1/x", "q2/x"):
            for qos in (0, 1, 2):
                c.publish(topic, b"%d" % qos, qos=qos, properties=PROPERTIES)
        c.publish("q1/kept", b"r", retain=True)
    got = seen.wait_messages(10)
    assert {p.topic: p.qos for p in got} == {"q0/x": 0, "q1/x": 1, "q2/x": 1, "q1/kept": 1}
    for p in got:
        if p.topic != "q1/kept":
            assert p.properties == PROPERTIES


@pytest.fixture
def reticent(broker, tmp_path):
    """A broker that exports nothing to read properties with, as Debian 13's, whatever Debian this is: the names are painted over."""
    program = tmp_path / "mosquitto"
    with open(shutil.which("mosquitto"), "rb") as f:
        image = re.sub(rb"mosquitto_property_(?=next|identifier|read_)", b"mosquitto_concealed", f.read())
    program.write_bytes(image)
    program.chmod(0o755)

    def make(options, **more):
        b = broker(options=options, start=False, **more)
        b.process.argv[0] = str(program)
        return b
    return make


def test_properties_that_the_broker_does_not_show(reticent, far_side, client_id):
    seen = far_side.recorder("q1/#", version=m.V5)
    b = reticent([*far_side.plugin_options(client_id), "topic q1/# out 1"]).start()
    with b.client(version=m.V5) as c:
        c.publish("q1/x", b"1", properties=PROPERTIES)
    assert seen.wait_messages(1)[0].properties == PROPERTIES


def test_properties_that_nobody_reads(reticent, tmp_path):
    """No libmosquitto either: refused at the start, because what is forwarded would lack them."""
    (tmp_path / "libmosquitto.so.1").touch()
    b = reticent(["store #"])
    b.process.env["LD_LIBRARY_PATH"] = str(tmp_path)
    code, log = b.start_refused()
    assert code and "plugin.properties: " in log and "libmosquitto1" in log


def test_what_cannot_be_forwarded_does_not_cut_off_its_publisher(linked):
    """Messages that no later attempt would bring further: a topic that is empty without its prefix, too many properties."""
    b, seen = linked("topic # out 1 site/", "store site/#")
    with b.client(version=m.V5) as c:
        c.publish("site/", b'{"v":1}', qos=1)
        c.publish("site/a", b"1", qos=1, properties={"user_property": [(str(i), 60 * "x") for i in range(5000)]})
        c.publish("site/b", b"2", qos=1)
    assert arrived(seen, 1) == [("b", b"2")]
    b.wait_log("capture.no-topic")
    b.wait_log("capture.dropped: .*error=too-large")
    b.store.wait_count(2)
    assert sorted(r[2] for r in b.store.rows()) == ["site/", "site/b"]


def test_retained_arrives_retained(linked, far_side):
    b, seen = linked("topic r/# out 1")
    b.publish("r/1", b"kept", retain=True)
    seen.wait_messages(1)
    late = far_side.recorder("r/#")
    assert late.wait_messages(1)[0].retain


def test_order_of_a_topic_is_kept(linked):
    b, seen = linked("topic o/# out 1", "iot_connections 3")
    with b.client() as c:
        ids = [c.publish(f"o/{i % 7}", b"%d" % i, wait=False) for i in range(700)]
        c.wait_acked(ids[-1])
    got = seen.wait_messages(700)
    by_topic = {}
    for p in got:
        by_topic.setdefault(p.topic, []).append(int(p.payload))
    assert all(v == sorted(v) for v in by_topic.values()) and len(by_topic) == 7
    assert len(got) == 700


def test_forwarding_needs_no_store_and_storing_no_cloud(broker, linked):
    b = broker(options=["store s/+"], name="local")
    b.publish("s/1", b"1")
    b.store.wait_count(1)
    b.stop()
    b, seen = linked("topic s/# out 1")
    b.publish("s/1", b"1")
    seen.wait_messages(1)


@pytest.mark.parametrize("store, topic, payload, sensor, message", [
    ("store s/+/x", "s/k/x", b'{"a":1}', "k", {"a": 1}),
    ("store #", "s/k", b"21.50", "s/k", {"value": 21.50}),
    ("store s/+", "s/k", b"true", "k", {"value": True}),
    ("store s/+", "s/k", b"[1,2]", "k", {"value": [1, 2]}),
    ("store s/+", "s/k", b"on", "k", {"value": "on"}),
    ("store s/+", "s/k", b"\xff\x00", "k", {"raw": "/wA="}),
    ("store s/# sensor=topic(3)", "s/k/deep", b"1", "deep", {"value": 1}),
    ("store s/# sensor=client()", "s/k", b"1", "the-client", {"value": 1}),
    ("store s/# sensor=payload(id.name)", "s/k", b'{"id":{"name":"n"}}', "n", {"id": {"name": "n"}}),
    ("store s/# sensor=attic", "s/k", b"1", "attic", {"value": 1}),
    ("store s/# message=payload(data)", "s/k", b'{"data":{"t":1},"x":2}', "s/k", {"t": 1}),
    ("store $aws/things/+/shadow/update", "$aws/things/T/shadow/update",
     b'{"state":{"desired":{"a":1,"b":1},"reported":{"b":2}}}', "T", {"a": 1, "b": 2}),
    ("store $aws/things/+/shadow/name/+/update", "$aws/things/T/shadow/name/N/update", b'{"state":{"reported":{"b":2}}}',
     "T", {"b": 2}),
    ("store v3/+/devices/+/up", "v3/app@ttn/devices/dev-1/up",
     b'{"uplink_message":{"decoded_payload":{"t":5},"rx_metadata":[{"rssi":-50,"snr":7.5},{"rssi":-40,"snr":8}]},'
     b'"received_at":"2024-01-02T03:04:05.678901Z"}', "dev-1", {"t": 5, "rssi": -40, "snr": 8}),
])
def test_measurements(broker, store, topic, payload, sensor, message):
    b = broker(options=[store])
    with b.client("the-client") as c:
        c.publish(topic, payload)
    b.store.wait_count(1)
    row = b.store.rows()[0]
    assert (row[0], row[2], json.loads(row[3])) == (sensor, topic, message)
    if topic.startswith("v3/"):
        assert row[1] == 1704164645678


def test_time_from_the_payload_is_the_key(broker):
    b = broker(options=["store s/+ time=payload(at)"])
    for at in ("1700000000", "1700000000123", '"2023-11-14T22:13:21.5Z"'):
        b.publish("s/k", f'{{"at":{at}}}'.encode())
    b.publish("s/k", b'{"at":1700000000,"again":true}')
    b.publish("s/k", b'{"none":1}')
    b.store.wait_count(3)
    rejected = b.spool.wait_rejected()[0]
    assert rejected["topic"] == "s/k" and "at" in rejected["reason"]
    assert [r[1] for r in b.store.rows()] == [1700000000000, 1700000000123, 1700000001500]


def test_messages_of_one_millisecond_are_all_kept(broker):
    b = broker(options=["store s/+"])
    with b.client() as c:
        ids = [c.publish("s/k", b"%d" % i, wait=False) for i in range(500)]
        c.wait_acked(ids[-1])
    b.store.wait_count(500)
    assert [x["value"] for x in b.store.messages("k")] == list(range(500))


def test_numbers_keep_every_digit(broker):
    b = broker(options=["store s/+"])
    text = '{"a":1.10,"b":12345678901234567890.12345678901234567890,"c":-0.0,"d":1e-7,"e":1E+3}'
    b.publish("s/k", text.encode())
    b.store.wait_count(1)
    stored = json.loads(b.store.rows()[0][3], parse_float=str, parse_int=str)
    assert stored == json.loads(text, parse_float=str, parse_int=str)


def test_many_filters(linked):
    lines = [f"topic line/{i}/+ out 1" for i in range(5000)] + [f"store line/+/{i}" for i in range(5000)]
    b, seen = linked(*lines)
    b.publish("line/4999/4999", b"1")
    b.publish("line/5000/5000", b"2")
    b.publish("line/0/5000", b"3")
    assert arrived(seen, 2) == [("line/0/5000", b"3"), ("line/4999/4999", b"1")]
    b.store.wait_count(1)


def test_will_and_system_topics_do_not_disturb(linked):
    b, seen = linked("topic # out 1")
    assert b.sys("spool/records") is not None
    b.publish("ok", b"1")
    assert arrived(seen, 1) == [("ok", b"1")]


def test_empty_and_large_messages(linked):
    b, seen = linked("topic # out 1")
    b.publish("empty", b"")
    big = bytes(range(256)) * 512
    b.publish("big", big)
    assert arrived(seen, 2) == [("big", big), ("empty", b"")]
