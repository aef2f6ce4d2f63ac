"""mqttsn-gateway under load: acknowledged means on disk, broker restarts, floods. The full sizes of the issue: --long."""

import json
import socket
import time

import pytest

from harness.process import Process
from mqttsn_harness import *  # noqa: F403


def snload(build, directory, gateway, *arguments, name="snload"):
    return Process(name, [build / "test" / "bench" / "snload", "-p", gateway.port, *arguments], directory).start()


def result(process, timeout=120):
    process.wait(timeout)
    return json.loads([line for line in process.text().splitlines() if line.startswith("{")][-1])


def stored(broker):
    """Numbers of the messages in the plugin's SQLite file."""
    return {n for (n,) in broker.store.query("SELECT json_extract(message, '$.seq') FROM measurement")}


def test_acknowledged_means_on_disk(broker, mqttsn, device):
    """kill -9 of the broker right after the device has its PUBACK: the reading is in SQLite."""
    b = broker(options=["store $aws/things/+/shadow/update"])
    g = mqttsn(b)
    for n in range(5):
        d = device(g, "riot-1")
        d.connect(clean=False)
        topic = d.register("$aws/things/riot-1/shadow/update")
        d.publish(topic, b'{"state":{"desired":{"temperature":"%d"}}}' % n, 1)
        b.kill9()
        b.start()
        b.store.wait_count(n + 1)
        g.wait_log("uplink.connected", count=n + 2, timeout=40)
        time.sleep(1.1)  # longer than the gateway keeps off a broker that was away
    assert [m["temperature"] for m in b.store.messages("riot-1")] == [str(n) for n in range(5)]


def check_restart_under_load(build, tmp_path, broker, mqttsn, clients, restarts, messages, *options):
    """A restart when all are back and at work, until the load is done; so each restart is noticed by each client."""
    b = broker(options=["store load/+"], verbose=False)
    g = mqttsn(b, *options)
    marks = tmp_path / "marks"
    load = snload(build, tmp_path, g, "-c", clients, "-n", messages, "-r", messages // (4 + 6 * restarts), "-A", marks, "-T", 2000,
                  "-s", 100)
    g.wait_status(clients=clients)
    for n in range(restarts):
        if n % 2:
            b.kill9()
        else:
            b.stop()
        time.sleep(0.5)
        b.start()
        g.wait_log("uplink.connected", count=n + 2, timeout=30)
        g.wait_status(30, clients=clients)
        time.sleep(0.5)
    r = result(load, 180)
    acked = {i for i, mark in enumerate(marks.read_bytes()) if mark == 2}
    assert r["finished"] and len(acked) == messages, r
    b.store.wait_count(messages)
    missing = acked - stored(b)
    assert not missing, (len(missing), r)
    # every client was told: as many came back as there were
    assert r["reconnects"] >= clients * restarts, r
    g.wait_status(clients=clients)
    return r


@pytest.mark.parametrize("aggregate", ["false", "true"])
def test_broker_restart_under_load(build, tmp_path, broker, mqttsn, aggregate):
    check_restart_under_load(build, tmp_path, broker, mqttsn, 200, 2, 6000, f"aggregate {aggregate}")


@pytest.mark.slow
@pytest.mark.parametrize("aggregate", ["false", "true"])
def test_broker_restart_under_load_1000(build, tmp_path, broker, mqttsn, aggregate):
    check_restart_under_load(build, tmp_path, broker, mqttsn, 1000, 6, 100000, f"aggregate {aggregate}")


def check_flood(build, tmp_path, plain_broker, mqttsn, junk, messages):
    b = plain_broker(conf="max_queued_messages 0", verbose=False)
    g = mqttsn(b, "log_type error warning notice information")
    load = snload(build, tmp_path, g, "-c", 100, "-n", messages, "-r", messages // 10, "-T", 10000)
    time.sleep(0.5)
    flood = snload(build, tmp_path, g, "-J", junk, name="junk")
    r = result(load, 300)
    flood.wait(300)
    assert r["finished"] and r["acked"] == messages, r
    assert r["disconnects"] == 0 and r["connected"] == 100, r
    assert r["retransmitted"] == 0 or "asan" in build.name, r  # which is slow enough to lose a datagram in the flood
    assert g.status()["malformed"] > junk // 4
    assert g.process.running()
    return g


def test_random_datagrams(build, tmp_path, plain_broker, mqttsn):
    check_flood(build, tmp_path, plain_broker, mqttsn, 100000, 5000)


@pytest.mark.slow
def test_a_million_random_datagrams(build, tmp_path, plain_broker, mqttsn):
    g = check_flood(build, tmp_path, plain_broker, mqttsn, 1000000, 100000)
    assert g.rss() < 64 << 20


def test_many_clients_come_and_go(build, tmp_path, plain_broker, mqttsn):
    """Slots are freed: memory stays where it is."""
    b = plain_broker(conf="max_queued_messages 0", verbose=False)
    g = mqttsn(b, "max_clients 500")
    sizes = []
    for n in range(6):
        assert result(snload(build, tmp_path, g, "-c", 400, "-n", 400, "-i", f"round{n}", "-k", 1))["acked"] == 400
        g.wait_status(clients=0)
        sizes.append(g.rss())
    if "asan" not in build.name:  # whose allocator keeps what was freed
        assert sizes[-1] < sizes[1] + (2 << 20), sizes


def test_vanished_sources(plain_broker, mqttsn, device):
    """Sockets that are closed right away: the ICMP answers to our packets disturb nobody."""
    b = plain_broker()
    g = mqttsn(b)
    d = device(g, "dev1").connect()
    topic = d.register("a")
    for n in range(50):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(bytes([7 + len(str(n)), 4, 4, 1, 0, 60]) + b"v%d" % n, ("127.0.0.1", g.port))
    for n in range(20):
        d.publish(topic, b"x", 1)
    g.wait_status(clients=51)
