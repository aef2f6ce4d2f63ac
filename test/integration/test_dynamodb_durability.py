"""DynamoDB and kill -9, and sinks that do not hold one another back."""

import collections
import random
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
    def make(*options, **more):
        b = broker(options=[*dynamo.options(), *options], start=False, verbose=False, **more)
        b.process.env.update(dynamodb.environment(dynamodb.aws_identity.issue(3600)))
        return b.start()
    return make


@pytest.fixture
def load(started, build, tmp_path):
    def make(b, count, **options):
        made = Load(build, tmp_path, b.port, count, **options)
        started.processes.append(made.process)
        made.process.start()
        return made
    return make


def stored(dynamo):
    """number -> how many items hold it."""
    return collections.Counter(int(i["message"]["M"]["seq"]["N"]) for i in dynamo.raw_items())


def kill_loop(gateway, dynamo, load, kills, count, rate):
    """Kills the broker again and again while it writes. Everything acknowledged is stored; an item beyond one for a number is a
    message that its publisher, not having an acknowledgement, sent again."""
    rng = random.Random(7)
    dynamo.control(rules=[{"fault": "slow", "delay": 0.05, "share": 0.5}, {"fault": "unprocessed", "fraction": 0.2}])
    b = gateway("store load/+", "spool_sync never")
    sent = load(b, count, rate=rate, connections=8)
    for _ in range(kills):
        time.sleep(rng.uniform(0.1, 0.6))
        b.kill9()
        b.start()
    result = sent.result(timeout=count / rate + 60)
    acked = sent.acked()
    assert len(acked) == count
    dynamo.control(rules=[])
    b.wait_sys("dynamodb/lag", 0, 120)
    found = stored(dynamo)
    assert set(found) >= acked, f"missing: {sorted(acked - set(found))[:20]}"
    again = sum(n - 1 for n in found.values())
    # at most a window of every connection is without acknowledgement at a kill
    assert again <= kills * 8 * 20, result
    assert not b.spool.rejected()
    return found


def test_kill_loop(gateway, dynamo, load):
    kill_loop(gateway, dynamo, load, 20, 12000, 900)


@pytest.mark.slow
def test_kill_loop_long(gateway, dynamo, load):
    kill_loop(gateway, dynamo, load, 200, 120000, 900)


def test_nothing_doubled_by_a_kill(gateway, dynamo):
    """What was acknowledged before the kill is one item each, though it was on its way to DynamoDB when the broker died."""
    dynamo.control(rules=[{"fault": "slow", "delay": 0.5}])
    b = gateway("store load/+")
    with b.client() as c:
        for i in range(500):
            c.publish("load/1", b'{"seq":%d}' % i, wait=False)
        wait_until(lambda: len(c.acked) == 500)
    for _ in range(4):
        wait_until(lambda: dynamo.control()["counts"].get("items", 0) > 0)
        b.kill9()
        dynamo.control(clear=True)
        b.start()
    dynamo.control(rules=[])
    dynamo.wait_items(500)
    b.wait_sys("dynamodb/lag", 0)
    assert stored(dynamo) == {i: 1 for i in range(500)}


def test_stopped_dynamodb_holds_nobody_back(gateway, dynamo, far_side, client_id, tmp_path):
    b = gateway("store load/+", "topic load/# out 1", f"sqlite_file {tmp_path / 'store.db'}", *far_side.plugin_options(client_id))
    seen = far_side.recorder("load/#")
    dynamo.stop_proxy()
    with b.client() as c:
        for i in range(300):
            c.publish("load/1", b'{"seq":%d}' % i)
    seen.wait_messages(300)
    b.store.wait_count(300)
    b.wait_sys("dynamodb/lag", 300)
    b.wait_sys("iotcore/lag", 0)
    dynamo.start_proxy()
    dynamo.wait_items(300, timeout=40)


def test_stopped_iotcore_and_sqlite_do_not_hold_dynamodb_back(gateway, dynamo, far_side, client_id, tmp_path):
    """The far side is gone, and SQLite's file cannot be written (its place is a directory's)."""
    import sqlite3
    b = gateway("store load/+", "topic load/# out 1", f"sqlite_file {tmp_path / 'store.db'}", *far_side.plugin_options(client_id))
    b.publish("load/1", b'{"seq":0}')
    b.store.wait_count(1)
    far_side.stop()
    db = sqlite3.connect(b.store.path)
    db.execute("BEGIN EXCLUSIVE")
    with b.client() as c:
        for i in range(1, 300):
            c.publish("load/1", b'{"seq":%d}' % i)
    dynamo.wait_items(300)
    b.wait_sys("dynamodb/lag", 0)
    assert int(b.sys("iotcore/lag")) >= 299 and int(b.sys("sqlite/lag")) >= 299
    db.rollback()
    db.close()
    b.store.wait_count(300, 40)


def test_drain_at_the_end(gateway, dynamo):
    """A broker that is told to stop finishes what is on its way; the rest is there after the start."""
    dynamo.control(rules=[{"fault": "slow", "delay": 0.3}])
    b = gateway("store load/+", "dynamodb_connections 2")
    with b.client() as c:
        for i in range(400):
            c.publish("load/1", b'{"seq":%d}' % i, wait=False)
        wait_until(lambda: len(c.acked) == 400)
    wait_until(lambda: dynamo.control()["most_active"] == 2)
    assert b.stop() == 0
    shown = dynamo.control()
    assert shown["counts"]["items"] == shown["distinct"]  # no request was cut off
    dynamo.control(rules=[])
    b.start()
    dynamo.wait_items(400)
    assert dynamo.control()["repeated"] == 0


def test_pause_and_resume(gateway, dynamo):
    b = gateway("store load/+")

    def command(name):
        b.publish("$CONTROL/mosquitto-aws/v1", b'{"commands":[{"command":"%s","sink":"dynamodb"}]}' % name)
    command(b"pause")
    b.wait_sys("dynamodb/state", "paused")
    b.publish("load/1", b'{"seq":1}')
    b.wait_sys("dynamodb/lag", 1)
    assert dynamo.count() == 0
    command(b"resume")
    dynamo.wait_items(1)
