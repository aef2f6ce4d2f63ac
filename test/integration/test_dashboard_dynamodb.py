"""The dashboard on DynamoDB: tables filled by the plugin, and by boto3 in the original project's layout; trouble on the way."""

import time

import pytest
from harness import dynamodb
from harness.dashboard import browse, browser_is_there
from harness.process import wait_until

pytestmark = pytest.mark.skipif(not dynamodb.dynalite_is_there(), reason="no dynalite: npm ci in test/")
T0 = 1_700_000_000_000


@pytest.fixture
def dynamo(started):
    d = dynamodb.Dynamo()
    started.others.append(d)
    d.create_table()
    return d


@pytest.fixture
def look(dashboard, dynamo):
    """look(*options, table=..): a dashboard that reads `dynamo` with good credentials."""
    def make(*options, table="greenhouse", env=None, identity=True, **more):
        environment = dynamodb.environment(dynamodb.aws_identity.issue(3600) if identity else None, **(env or {}))
        return dashboard(["source dynamodb", *dynamo.options(table), *options], env=environment, **more)
    return make


def put(dynamo, sensor, ms, message, table="greenhouse", **more):
    item = {"sensor": {"S": sensor}, "timestamp": {"S": str(ms)}, "message": {"M": message}, **more}
    dynamo.client.put_item(TableName=table, Item=item)


def fill_original(dynamo, sensors=5, count=30, start=T0):
    """The layout of the original project: message a map of numbers."""
    for n in range(sensors):
        for i in range(count):
            put(dynamo, f"station-{n}", start + i * 1000, {"temperature": {"N": str(n + i / 10)}, "windy": {"BOOL": i % 2 == 0}})


def test_the_original_layout(look, dynamo):
    fill_original(dynamo)
    d = look()
    found = d.json("/api/sensors")
    assert sorted(s["sensor"] for s in found) == [f"station-{n}" for n in range(5)]
    assert all(s["last"] == T0 + 29000 and s["values"]["windy"] == "false" for s in found)
    answer = d.range("station-2", **{"from": T0, "to": T0 + 29999, "points": 30})
    assert answer["temperature"]["avg"] == pytest.approx([2 + i / 10 for i in range(30)])
    assert answer["meta"]["complete"]
    assert d.json("/station-3/last")["temperature"] == "5.9"
    assert len(d.json("/station-3/")) == 30
    csv = d.get(f"/api/sensors/station-1/export.csv?from={T0}&to={T0 + 5000}").body.decode().splitlines()
    assert len(csv) == 7 and csv[1].startswith(f"{T0},")


def test_what_the_plugin_stores(look, dynamo, broker):
    b = broker(options=[*dynamo.options(), "store sensors/+"], start=False)
    b.process.env.update(dynamodb.environment(dynamodb.aws_identity.issue(3600)))
    b.start()
    for i in range(20):
        b.publish("sensors/kitchen", b'{"temperature": %d.5, "door": "open"}' % i)
    dynamo.wait_items(20)
    d = look()
    assert d.json("/api/sensors")[0]["metrics"] == ["temperature", "door"]
    now = int(time.time() * 1000)
    answer = d.range("kitchen", **{"from": now - 60000, "to": now, "points": 1})
    assert answer["temperature"]["max"] == [19.5] and answer["meta"]["measurements"] == 20


@pytest.mark.skipif(not browser_is_there(), reason="no Chromium, or no playwright-core: npm ci in test/")
def test_the_page(look, dynamo, broker, tmp_path):
    """What the plugin stores and what the original project stored, in one table, in a browser."""
    fill_original(dynamo, sensors=2, start=int(time.time() * 1000) - 60000)
    b = broker(options=[*dynamo.options(), "store sensors/+"], start=False)
    b.process.env.update(dynamodb.environment(dynamodb.aws_identity.issue(3600)))
    b.start()
    for i in range(20):
        b.publish("sensors/kitchen", b'{"temperature": %d.5, "windy": "no"}' % i)
    dynamo.wait_items(80)
    seen = browse(look(), tmp_path, "details", "?sensor=kitchen&sensor=station-1")
    assert seen["search"] == "?sensor=kitchen&sensor=station-1&range=5m"
    assert seen["statistics"] == ["kitchen0.51019.519.5", "station-112.453.93.9"]
    assert set(seen["json"]["sensors"]) == {"kitchen", "station-1"} and seen["csv"] == 22


def test_pages(look, dynamo):
    """A range over several pages of 1 MB."""
    filler = {"S": "x" * 200000}
    for i in range(12):
        put(dynamo, "big", T0 + i * 1000, {"n": {"N": str(i)}, "filler": filler})
    d = look()
    assert d.range("big", **{"from": T0, "to": T0 + 99999, "points": 100, "metric": "n"})["n"]["avg"] == list(range(12))
    assert len(d.json("/big/")) == 12


def test_expired_items_are_hidden(look, dynamo):
    past = {"ttl": {"N": str(int(time.time()) - 1000)}}
    for i in range(10):
        put(dynamo, "half", T0 + i * 1000, {"n": {"N": str(i)}}, **(past if i >= 5 else {}))
        put(dynamo, "gone", T0 + i * 1000, {"n": {"N": str(i)}}, **past)
    d = look()
    assert [(s["sensor"], s["values"]["n"]) for s in d.json("/api/sensors")] == [("half", 4)]
    assert d.range("half", **{"from": T0, "to": T0 + 99999, "points": 100})["n"]["avg"] == [0, 1, 2, 3, 4]


def test_other_keys(look, dynamo):
    dynamo.create_table("other", "device id", "at", "N")
    for n in range(3):
        dynamo.client.put_item(TableName="other", Item={"device id": {"S": f"d{n}"}, "at": {"N": str(T0)}, "message": {"M": {"v": {"N": "1"}}}})
    d = look("dynamodb_sensor_key device id", "dynamodb_time_key at", "dynamodb_time_type N", table="other")
    assert sorted(s["sensor"] for s in d.json("/api/sensors")) == ["d0", "d1", "d2"]


def test_allowed_sensors_only(look, dynamo):
    fill_original(dynamo, 3, 2)
    d = look("sensors station-0 station-2 not-there")
    assert [s["sensor"] for s in d.json("/api/sensors")] == ["station-0", "station-2"]
    assert d.json("/api/sensors/station-1/last", 404)["code"] == "no-measurements"
    assert d.range("station-1", **{"from": T0, "to": T0 + 9999})["t"] == []


def test_throttled_then_not(look, dynamo):
    fill_original(dynamo, 1, 3)
    d = look()
    dynamo.control(rules=[{"fault": "throttle", "times": 2}])
    assert len(d.json("/api/sensors")) == 1
    dynamo.control(rules=[{"fault": "throttle"}])
    answer = d.get("/api/sensors/station-0/last")
    assert answer.status == 503 and answer.json()["code"] == "store-throttled" and answer.headers["Retry-After"]
    dynamo.control(rules=[])
    assert d.json("/api/sensors/station-0/last")["timestamp"] == T0 + 2000


def test_missing_table(look, dynamo):
    d = look(table="nowhere")
    assert d.json("/api/sensors", 503)["code"] == "store-missing"
    dynamo.create_table("nowhere")
    assert d.json("/api/sensors") == []


def test_no_credentials(look, dynamo):
    d = look(identity=False)
    answer = d.json("/api/sensors", 503)
    assert answer["code"] == "store-credentials"
    assert "AWS_" not in answer["error"]


def test_unreachable_then_back(look, dynamo):
    fill_original(dynamo, 1, 1)
    d = look()
    dynamo.stop_proxy()
    assert d.json("/api/sensors/station-0/last", 503)["code"] == "store-unreachable"
    dynamo.start_proxy()
    wait_until(lambda: d.get("/api/sensors/station-0/last").status == 200, 10)
