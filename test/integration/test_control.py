"""The control API on $CONTROL/mosquitto-aws/v1: status, rejected messages, pausing."""

import json

import pytest
from harness.process import wait_until

TOPIC = "$CONTROL/mosquitto-aws/v1"


@pytest.fixture
def control(broker):
    """control(options) -> (broker, ask); ask(command, ...) gives the responses, ask.raw(bytes) those to any payload."""
    def make(options):
        b = broker(options=options)

        def raw(payload):
            seen = b.recorder(TOPIC + "/response", qos=0)
            b.publish(TOPIC, payload)
            answer = json.loads(seen.wait_messages(1)[0].payload)
            seen.close()
            return answer["responses"]

        def ask(*commands):
            return raw(json.dumps({"commands": list(commands)}).encode())

        ask.raw = raw
        return b, ask
    return make


def test_status_and_correlation(control):
    b, ask = control(["store s/+"])
    for i in range(5):
        b.publish("s/1", b"%d" % i)
    b.store.wait_count(5)
    [answer] = ask({"command": "getStatus", "correlationData": "x7"})
    assert answer["command"] == "getStatus" and answer["correlationData"] == "x7"
    assert answer["data"]["spool"]["appended"] == 5
    assert answer["data"]["sinks"]["sqlite"]["confirmed"] == 5
    assert answer["data"]["sinks"]["sqlite"]["state"] == "running"
    assert list(answer["data"]["sinks"]) == ["sqlite"]


def test_rejected_are_listed_retried_and_dropped(control):
    b, ask = control(["store s/# sensor=topic(3)"])
    b.publish("s/short", b'{"v":1}')  # has no third level: the mapping does not fit
    b.publish("s/long/er", b'{"v":2}')
    b.store.wait_count(1)
    [answer] = wait_until(lambda: [r for r in ask({"command": "listRejected"}) if r["data"]["totalCount"] == 1], 10)
    [one] = answer["data"]["rejected"]
    assert one["topic"] == "s/short" and one["sink"] == "sqlite" and one["reason"]
    assert "payload" not in one
    [answer] = ask({"command": "retryRejected", "name": one["name"]})
    assert answer["data"]["count"] == 1
    again = wait_until(lambda: [r for r in ask({"command": "listRejected"})
                                if [x["name"] for x in r["data"]["rejected"]] not in ([], [one["name"]])], 10)
    [two] = again[0]["data"]["rejected"]
    assert two["topic"] == "s/short" and two["capture_ms"] == one["capture_ms"]
    assert ask({"command": "dropRejected"})[0]["data"]["count"] == 1
    assert ask({"command": "listRejected"})[0]["data"]["totalCount"] == 0


def test_pause_and_resume(control):
    b, ask = control(["store s/+"])
    assert "error" not in ask({"command": "pause", "sink": "sqlite"})[0]
    b.wait_log('control.changed: .*command=pause client="[^"]+"')  # who did that
    for i in range(10):
        b.publish("s/1", b"%d" % i)
    [status] = ask({"command": "getStatus"})
    assert status["data"]["sinks"]["sqlite"]["state"] == "paused" and status["data"]["sinks"]["sqlite"]["lag"] == 10
    assert "error" not in ask({"command": "resume", "sink": "sqlite"})[0]
    b.store.wait_count(10)


@pytest.mark.parametrize("command, error", [
    ({"command": "getstatus"}, "unknown command"),
    ({"command": 5}, "command is missing"),
    ({}, "command is missing"),
    ({"command": "pause"}, "sink is missing"),
    ({"command": "pause", "sink": "elsewhere"}, "no such sink"),
    ({"command": "pause", "sink": "iotcore"}, "this sink is not configured"),
    ({"command": "listRejected", "offset": -1}, "offset or count is not a number in range"),
    ({"command": "listRejected", "count": 1e9}, "offset or count is not a number in range"),
    ({"command": "dropRejected", "name": "../lock"}, "there is no such file in rejected/"),
    ({"command": "dropRejected", "name": 1}, "name is not a string"),
    ({"command": "retryRejected", "name": "1-sqlite.json"}, "there is no such file in rejected/"),
])
def test_mistakes_are_answered(control, command, error):
    _, ask = control(["store s/+"])
    assert ask(command)[0]["error"] == error


def test_requests_that_are_none(control):
    b, ask = control(["store s/+"])
    for payload in (b"", b"{", b"[]", b"null", b'{"commands":1}', b"\xff\xfe", b"[" * 5000):
        assert "error" in ask.raw(payload)[0]
    assert ask(*[{"command": "getStatus"}] * 101) == [{"error": "too many commands"}]
    assert len(ask(*[{"command": "getStatus"}] * 100)) == 100
    b.publish(TOPIC, b" " * 70000)
    wait_until(lambda: b.process.lines("control.request.*too-large"), 10)
    assert len(ask({"command": "getStatus"})) == 1
