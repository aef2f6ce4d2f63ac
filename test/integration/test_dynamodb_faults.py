"""DynamoDB in trouble: whatever goes wrong, every acknowledged message is stored exactly once and none is stored wrong."""

import collections
import threading
import time

import pytest
from harness import dynamodb
from harness.load import Load
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
    def make(*options, identity=None, start=True, **more):
        b = broker(options=[*dynamo.options(), "store load/+", *options], start=False, verbose=False, **more)
        b.process.env.update(dynamodb.environment(identity or dynamodb.aws_identity.issue(3600)))
        return b.start() if start else b
    return make


@pytest.fixture
def load(started, build, tmp_path):
    def make(b, count, name="load", **options):
        made = Load(build, tmp_path, b.port, count, name=name, connections=options.pop("connections", 20), **options)
        started.processes.append(made.process)
        made.process.start()
        return made
    return make


def stored_numbers(dynamo):
    """How often each number is stored. Checks each item on the way."""
    found = collections.Counter()
    for item in dynamo.raw_items():
        message = item["message"]["M"]
        assert set(message) == {"seq", "t", "pad"} and set(message["pad"]["S"]) == {"x"}, item
        found[int(message["seq"]["N"])] += 1
    return found


def check_stored(b, dynamo, sent, timeout=60):
    """All acknowledged numbers are stored, once each; nothing was set aside."""
    acked = sent.acked()
    assert len(acked) == sent.count
    wait_until(lambda: dynamo.count() >= sent.count, timeout, lambda: f"{sent.count} items; {dynamo.count()}, {dynamo.control()}", 0.3)
    b.wait_sys("dynamodb/lag", 0)
    found = stored_numbers(dynamo)
    assert set(found) == acked and set(found.values()) == {1}
    assert not b.spool.rejected()


def told(b):
    return b.process.lines(r" (dynamodb|credentials)\.")


FAULTS = {
    "throttled": [{"fault": "throttle", "share": 0.3}],
    "throttled hard": [{"fault": "throttle", "times": 12}],
    "throttling exception": [{"fault": "throttle", "code": "ThrottlingException", "share": 0.3, "retry_after": 40}],
    "unprocessed in every batch": [{"fault": "unprocessed", "fraction": 0.3}],
    "5xx": [{"fault": "error", "share": 0.3}, {"fault": "error", "status": 503, "code": "ServiceUnavailable", "share": 0.2}],
    "5xx after writing": [{"fault": "error", "written": True, "share": 0.4}],
    "resets": [{"fault": "reset", "share": 0.2}, {"fault": "reset", "written": True, "share": 0.2}],
    "cut answers": [{"fault": "cut", "share": 0.4}],
    "bad CRC": [{"fault": "bad_crc", "share": 0.4}],
    "nonsense": [{"fault": "garbage", "share": 0.2}, {"fault": "html", "share": 0.2}],
    "late answers": [{"fault": "slow", "delay": 0.3, "share": 0.5}],
    "conflicts": [{"fault": "error", "status": 400, "code": "ReplicatedWriteConflictException", "share": 0.3}],
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault(gateway, dynamo, load, name):
    dynamo.control(rules=FAULTS[name])
    b = gateway()
    sent = load(b, 2000)
    sent.result()
    if name == "throttled hard":
        b.wait_log("dynamodb.throttled")
    check_stored(b, dynamo, sent)
    assert dynamo.control()["counts"][FAULTS[name][0]["fault"]] > 0
    assert len(told(b)) <= 12, "\n".join(told(b))


def test_hot_partition(gateway, dynamo, load):
    """One sensor beyond its partition's rate comes through at that rate; the others need not wait for it."""
    dynamo.control(rules=[{"fault": "hot_partition", "sensor": "0", "rate": 200}])
    b = gateway()
    sent = load(b, 4000)  # 200 of each of 20 sensors
    sent.result()
    wait_until(lambda: dynamo.count() >= 3800, 20, lambda: f"{dynamo.count()} items")
    check_stored(b, dynamo, sent)


def test_wrong_clock(gateway, dynamo, load):
    """AWS's clock is an hour ahead, then an hour behind, then as ours: signatures follow its Date header."""
    dynamo.control(skew=3600)
    b = gateway()
    first = load(b, 500)
    first.result()
    check_stored(b, dynamo, first)
    assert "ahead_s=3600" in b.wait_log("dynamodb.clock").replace("3599", "3600")
    dynamo.control(skew=-3600)
    second = load(b, 1000, name="second")
    second.result()
    b.wait_log("dynamodb.clock", count=2)
    wait_until(lambda: dynamo.count() == 1500, 20)
    dynamo.control(skew=0)
    load(b, 100, name="third").result()
    b.wait_log("dynamodb.clock-right.*ahead_s=0")
    assert len(b.process.lines("dynamodb.clock:")) == 2
    wait_until(lambda: dynamo.count() == 1600, 20)
    assert not b.process.lines("dynamodb.refused")


def test_answers_after_an_outage(gateway, dynamo, load):
    """Nobody listens for a while."""
    b = gateway()
    dynamo.stop_proxy()
    sent = load(b, 3000, rate=1000)
    b.wait_log("dynamodb.trouble")
    b.wait_sys("dynamodb/state", "waiting")
    sent.result()
    time.sleep(2)
    dynamo.start_proxy()
    check_stored(b, dynamo, sent)
    b.wait_log("dynamodb.recovered", 20)
    assert len(told(b)) <= 12, "\n".join(told(b))


def phases(seconds):
    """Everything that goes wrong, one after the other."""
    yield from ({"rules": rules} for rules in FAULTS.values())
    yield {"rules": [], "skew": 3600}
    yield {"skew": 0}
    yield {"revoke": True}


def trouble(dynamo, provider, seconds, stop):
    """Goes through all phases again and again until told to stop; `seconds` each."""
    while not stop.is_set():
        for phase in phases(seconds):
            dynamo.control(**phase)
            if "revoke" in phase:
                provider.control(status={"role_alias": 503})
                stop.wait(3 * seconds)
                provider.control(status={"role_alias": 200})
            stop.wait(seconds)
            if stop.is_set():
                break


def run_everything(started, gateway, dynamo, load, server_id, client_id, count, rate, seconds):
    """`count` messages while everything goes wrong in turn, with short-lived credentials from a provider that fails, too."""
    provider = dynamodb.CredentialServer(server_id)
    started.others.append(provider)
    provider.control(lifetime=20)
    b = gateway("aws_role_alias gateway", f"aws_credentials_endpoint localhost:{provider.https}",
                f"iot_certfile {client_id.cert}", f"iot_keyfile {client_id.key}", f"iot_cafile {client_id.ca}", start=False)
    b.process.env.update(dynamodb.environment())
    b.start()
    stop = threading.Event()
    thread = threading.Thread(target=trouble, args=(dynamo, provider, seconds, stop))
    thread.start()
    try:
        sent = load(b, count, rate=rate, connections=50)
        sent.result(timeout=count / rate * 3 + 60)
        wait_until(lambda: dynamo.count() > count * 0.8, 300, every=0.5)
    finally:
        stop.set()
        thread.join()
    dynamo.control(rules=[], skew=0)
    provider.control(status={"role_alias": 200})
    check_stored(b, dynamo, sent, 120)
    return b


def test_everything_at_once(started, gateway, dynamo, load, server_id, client_id):
    begin = time.monotonic()
    b = run_everything(started, gateway, dynamo, load, server_id, client_id, 50000, 3000, 0.7)
    seconds = time.monotonic() - begin
    shown = dynamo.control()
    assert len(shown["access_keys"]) >= 2  # renewed
    assert len(told(b)) <= max(40, seconds), "\n".join(told(b))  # the faults take turns for as long as it takes


@pytest.mark.slow
def test_everything_for_minutes(started, gateway, dynamo, load, server_id, client_id):
    run_everything(started, gateway, dynamo, load, server_id, client_id, 300000, 1000, 10.0)
