"""The plugin writes measurements into DynamoDB: items as specified, poison set aside, settings, other sinks independent."""

import base64
import decimal
import json

import pytest
from boto3.dynamodb.types import TypeDeserializer

from harness import dynamodb
from harness.process import wait_until

pytestmark = pytest.mark.skipif(not dynamodb.dynalite_is_there(), reason="no dynalite: npm ci in test/")


@pytest.fixture
def dynamo(started):
    d = dynamodb.Dynamo()
    started.others.append(d)
    d.create_table()
    return d


@pytest.fixture
def gateway(broker, dynamo):
    """gateway(*options, env={}): a started broker that stores in `dynamo` with good credentials."""
    def make(*options, env=None, start=True, **more):
        b = broker(options=[*dynamo.options(), *options], start=False, **more)
        b.process.env.update(dynamodb.environment(dynamodb.aws_identity.issue(3600), **(env or {})))
        return b.start() if start else b
    return make


def by_sensor(items):
    return {item["sensor"]["S"]: item for item in items}


def plain(attribute):
    return TypeDeserializer().deserialize(attribute)


def test_first_light(gateway, dynamo):
    b = gateway("store sensors/+")
    b.mosquitto_pub("-q", 1, "-t", "sensors/one", "-m", '{"temperature": 21.50}')
    items = dynamo.wait_items(1)
    assert items[0]["sensor"] == {"S": "one"}
    assert items[0]["message"] == {"M": {"temperature": {"N": "21.5"}}}
    assert set(items[0]) == {"sensor", "timestamp", "message"}
    b.wait_log("dynamodb.ready")
    assert b.stop() == 0


# Topic, payload, sensor, message as boto3 gives it (numbers are Decimal). One for each form of the table "From message to measurement".
FORMS = [
    ("$aws/things/thing-1/shadow/update", {"state": {"desired": {"t": 1, "u": 2}, "reported": {"t": 3}}}, "thing-1", {"t": 3, "u": 2}),
    ("$aws/things/thing-2/shadow/name/climate/update", {"state": {"reported": {"t": 4}}}, "thing-2", {"t": 4}),
    ("v3/app@tenant/devices/lora-1/up",
     {"received_at": "2023-02-06T05:54:46.123456789Z",
      "uplink_message": {"decoded_payload": {"t": 5.25}, "rx_metadata": [{"rssi": -90, "snr": 2}, {"rssi": -35, "snr": 9.5}]}},
     "lora-1", {"t": decimal.Decimal("5.25"), "rssi": -35, "snr": decimal.Decimal("9.5")}),
    ("v3/app@tenant/devices/lora-2/up", {"received_at": "2023-02-06T05:54:46Z", "uplink_message": {"frm_payload": "AQI="}},
     "lora-2", {"frm_payload": "AQI="}),
    ("sensors/object/x", {"temperature": 21.5, "on": True, "off": False, "none": None, "list": [1, "two", [], {}]}, "object",
     {"temperature": decimal.Decimal("21.5"), "on": True, "off": False, "none": None, "list": [1, "two", [], {}]}),
    ("sensors/number/x", b"21.5", "number", {"value": decimal.Decimal("21.5")}),
    ("sensors/boolean/x", b"true", "boolean", {"value": True}),
    ("sensors/string/x", b'"open"', "string", {"value": "open"}),
    ("sensors/array/x", b"[1,2]", "array", {"value": [1, 2]}),
    ("sensors/text/x", "Grün".encode(), "text", {"value": "Grün"}),
    ("sensors/raw/x", b"\x00\xff", "raw", {"raw": base64.b64encode(b"\x00\xff").decode()}),
    ("sensors/unicode/x", '{"π": "🌱 ä \\u00e4 \\ud83c\\udf31"}'.encode(), "unicode", {"π": "🌱 ä ä 🌱"}),
    ("sensors/empty/x", b'{"text": "", "": "no name"}', "empty", {"text": "", "": "no name"}),
    ("sensors/nothing/x", b"{}", "nothing", {}),
    ("sensors/twice/x", b'{"a": 1, "b": {"c": 1, "c": 2}, "a": 3}', "twice", {"a": 3, "b": {"c": 2}}),
    ("whole/topic", b"1", "whole/topic", {"value": 1}),
]


def test_forms(gateway, dynamo):
    b = gateway("store $aws/things/+/shadow/#", "store v3/+/devices/+/up", "store sensors/+/#", "store whole/topic")
    for topic, payload, _, _ in FORMS:
        b.publish(topic, payload if isinstance(payload, bytes) else json.dumps(payload).encode())
    items = by_sensor(dynamo.wait_items(len(FORMS)))
    for topic, _, sensor, message in FORMS:
        assert plain(items[sensor]["message"]) == message, topic
        assert set(items[sensor]["timestamp"]) == {"S"} and items[sensor]["timestamp"]["S"].isdigit()
    assert items["lora-1"]["timestamp"] == {"S": "1675662886123"}
    assert not b.spool.rejected()


NUMBERS = {
    "0.1": "N", "1e-7": "N", "12345678901234567890.123": "N", "-0.00000000000000000000000000000000000012": "N",
    "9" * 38: "N", "1." + "9" * 37: "N", "1E125": "N", "1e-130": "N", "0": "N", "-17": "N", "1.000": "N",
    "7" * 400: "S", "9" * 39: "S", "1E126": "S", "1e-131": "S", "0." + "0" * 200 + "1": "S",
}


def test_numbers_keep_their_digits(gateway, dynamo):
    b = gateway("store sensors/+")
    names = {f"n{i}": text for i, text in enumerate(NUMBERS)}
    b.publish("sensors/numbers", ("{" + ",".join(f'"{name}":{text}' for name, text in names.items()) + "}").encode())
    message = dynamo.wait_items(1)[0]["message"]["M"]
    for name, text in names.items():
        ((kind, value),) = message[name].items()
        assert kind == NUMBERS[text], text
        assert value == text if kind == "S" else decimal.Decimal(value) == decimal.Decimal(text), text


def nested(levels):
    """A value whose innermost scalar is at this level; the attribute itself is level 1."""
    return b'{"a":' * (levels - 1) + b"1" + b"}" * (levels - 1)


def test_nesting(gateway, dynamo):
    """32 levels are DynamoDB's limit, counted from the attribute to the innermost value."""
    b = gateway("store sensors/+")
    b.publish("sensors/l32", nested(32))
    b.publish("sensors/l33", nested(33))
    b.publish("sensors/l40", nested(40))
    b.publish("sensors/flat", b"1")
    items = by_sensor(dynamo.wait_items(2))
    assert set(items) == {"l32", "flat"}
    value, depth = items["l32"]["message"], 1
    while "M" in value:
        value, depth = value["M"]["a"], depth + 1
    assert depth == 32
    rejected = {r["topic"]: r["reason"] for r in b.spool.wait_rejected(2)}
    assert "Nesting" in rejected["sensors/l33"] and "nested" in rejected["sensors/l40"]


def test_poison(gateway, dynamo):
    """Each poisonous message is set aside with its reason; its batch mates are stored."""
    b = gateway("store sensors/+", "store named/# sensor=payload(id)", "store keys/# sensor=payload(id)", start=False)
    dynamo.control(rules=[{"fault": "slow", "delay": 0.3, "times": 1}])
    b.start()
    poison = {
        "sensors/large": b'{"text":"' + b"x" * (401 * 1024) + b'"}',
        "named/long": b'{"id":"' + b"k" * 2049 + b'"}',
        "named/empty": b'{"id":""}',
        "sensors/deep": nested(40),
        "sensors/edge": nested(33),
        "named/none": b'{"no": "id"}',
    }
    mates = 0
    with b.client() as c:
        c.publish("sensors/first", b"1")
        for topic, payload in poison.items():
            c.publish(topic, payload)
            for _ in range(24):
                mates += 1
                c.publish(f"sensors/mate-{mates}", b"%d" % mates)
    stored = by_sensor(dynamo.wait_items(mates + 1))
    assert len(stored) == mates + 1
    reasons = {r["topic"]: r["reason"] for r in b.spool.wait_rejected(len(poison))}
    assert set(reasons) == set(poison)
    assert "409600" in reasons["sensors/large"] or "400 KB" in reasons["sensors/large"]
    assert "2049" in reasons["named/long"]
    assert "no sensor name" in reasons["named/empty"] and "no sensor name" in reasons["named/none"]
    b.wait_sys("dynamodb/rejected", len(poison))
    b.wait_sys("dynamodb/confirmed", mates + 1)


def test_dynamodb_refuses_one(gateway, dynamo):
    """What only DynamoDB knows to be wrong is found by halving the batch."""
    b = gateway("store sensors/+", start=False)
    dynamo.control(rules=[{"fault": "slow", "delay": 0.5, "times": 1}])
    b.start()
    with b.client() as c:
        for i in range(100):
            c.publish(f"sensors/s{i}", nested(33) if i in (13, 14, 77) else b"1")
    dynamo.wait_items(97)
    assert {r["topic"] for r in b.spool.wait_rejected(3)} == {"sensors/s13", "sensors/s14", "sensors/s77"}
    assert dynamo.count() == 97
    assert b.wait_sys("dynamodb/confirmed", 97)


def test_other_keys_and_ttl(gateway, dynamo):
    dynamo.create_table("other", "device id", "at", "N")
    b = gateway("store sensors/+ time=payload(at)", "dynamodb_sensor_key device id", "dynamodb_time_key at",
                "dynamodb_time_type N", "dynamodb_ttl 1d", start=False)
    b.set_option("dynamodb_table", "other")
    b.start()
    b.publish("sensors/one", b'{"at": 1585900000, "t": 1}')
    item = dynamo.wait_items(1, "other")[0]
    assert item["device id"] == {"S": "one"} and item["at"] == {"N": "1585900000000"}
    assert item["ttl"] == {"N": str(1585900000 + 86400)}


def test_table_of_a_route(gateway, dynamo):
    dynamo.create_table("second")
    b = gateway("store a/+ table=second", "store b/+")
    for i in range(30):
        b.publish("a/one", b"1")
        b.publish("b/two", b"2")
    assert {i["sensor"]["S"] for i in dynamo.wait_items(30, "second")} == {"one"}
    assert {i["sensor"]["S"] for i in dynamo.wait_items(30)} == {"two"}


def test_same_keys(gateway, dynamo):
    """Of measurements with the same sensor and time the latest is stored, also within a batch and while one is on its way."""
    b = gateway("store sensors/+ time=payload(at)", start=False)
    dynamo.control(rules=[{"fault": "slow", "delay": 0.4, "times": 3}])
    b.start()
    with b.client() as c:
        for n in range(200):
            c.publish("sensors/one", b'{"at":%d,"n":%d}' % (1585900000 + n % 3, n))
    b.wait_sys("dynamodb/confirmed", 200)
    b.wait_sys("dynamodb/lag", 0)
    items = dynamo.items()
    assert sorted(int(i["message"]["M"]["n"]["N"]) for i in items) == [197, 198, 199]
    assert "ValidationException" not in dynamo.control()["counts"]


@pytest.mark.parametrize("mistake, text", [
    ("no table", "ResourceNotFoundException"),
    ("other keys", "does not match the schema"),
])
def test_wrong_table(gateway, dynamo, tmp_path, mistake, text):
    """A table that is not there or has other keys: everything is kept, told once, and stored when it has been put right."""
    b = gateway("store sensors/+", f"sqlite_file {tmp_path / 'store.db'}", start=False)
    b.set_option("dynamodb_table", "late")
    if mistake == "other keys":
        dynamo.create_table("late", "id", "at")
    b.start()
    for i in range(60):
        b.publish("sensors/one", b"%d" % i)
    line = b.wait_log("dynamodb.refused")
    assert text in line and "table=late" in line
    b.store.wait_count(60)  # SQLite does not wait
    b.wait_sys("dynamodb/state", "failed")
    assert not b.spool.rejected() and len(b.process.lines("dynamodb.refused")) == 1
    if mistake == "other keys":
        dynamo.client.delete_table(TableName="late")
        wait_until(lambda: "late" not in dynamo.client.list_tables()["TableNames"], 10)
    dynamo.create_table("late")
    dynamo.stop_proxy()  # which knows the old keys
    dynamo.start_proxy()
    dynamo.wait_items(60, "late", timeout=90)  # the back-off of a slow machine that saw it refused several times
    b.wait_log("dynamodb.accepted")


def test_flood_of_poison(gateway, dynamo, tmp_path):
    """Hundreds of messages that can never be stored hold up neither the good ones nor the other sinks."""
    b = gateway("store sensors/+", "store named/# sensor=payload(id)", f"sqlite_file {tmp_path / 'store.db'}", verbose=False)
    with b.client() as c:
        for i in range(600):
            c.publish("named/x", b'{"id":""}', wait=False)
            if i % 6 == 0:
                c.publish("sensors/good", b"%d" % i, wait=False)
        wait_until(lambda: len(c.acked) == 700)
    dynamo.wait_items(100)
    b.store.wait_count(100)
    b.spool.wait_rejected(600)  # one file for each sink that refuses it
    b.wait_sys("dynamodb/rejected", 600)
    assert dynamo.count() == 100
