"""Messages that come alone (docs/ARCHITECTURE.md) while the far side, the link and the broker do whatever they can do, at random.
`--seed N` repeats the choices of a run; `--long` runs for minutes (docs/testing.md)."""

import collections
import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import time

import pytest
from harness import dynamodb
from harness.load import Load
from harness.lone import Arrivals, Publisher
from harness.process import wait_until

CONTROL = "$CONTROL/mosquitto-aws/v1"
DYNAMO_CONNECTIONS = 4  # the plugin's default
FAILURES_MAX = 2  # of a connection before the broker is started anew: the pauses between the attempts double
DYNAMO_FAULTS = [{"fault": "throttle", "share": 0.5}, {"fault": "unprocessed", "fraction": 0.4}, {"fault": "error", "share": 0.4},
                 {"fault": "error", "written": True, "share": 0.4}, {"fault": "reset", "share": 0.4}, {"fault": "bad_crc", "share": 0.4},
                 {"fault": "reset", "written": True, "share": 0.4}, {"fault": "cut", "share": 0.4}, {"fault": "slow", "delay": 0.3}]


class World:
    """A broker with publishers, a link (relay) and a far side (gate), and what can happen to them; every other one has a local store
    and DynamoDB as well, for what the first publisher sends."""

    def __init__(self, rng, broker, gate, relay, pki, server_id, tmp_path, dynamo):
        self.rng, self.started = rng, time.monotonic()
        self._gate, self._server = gate, server_id
        self.files = [tmp_path / "device.crt", tmp_path / "device.key"]
        self.identities = [pki.client("first"), pki.client("second")]
        self.renew_files()
        self.arrivals = Arrivals()
        self.v5 = rng.random() < 0.6
        self.limits = {"publishes_per_second": 0, "bytes_per_second": 0, "unacknowledged_in": self.window(),
                       "queued_per_second": 1000}
        self.gate = gate(name="gate0", **self.limits)
        self.arrivals.add(self.gate)
        self.relay = relay(self.gate.port)
        self.connections = rng.choice((1, 1, 2, 8))
        self.options = [f"iot_endpoint localhost:{self.relay.port}", f"iot_certfile {self.files[0]}", f"iot_keyfile {self.files[1]}",
                        f"iot_cafile {pki.ca}", "iot_client_id gw", "iot_publish_rate 0", "iot_byte_rate 0", "iot_keepalive 5s",
                        f"iot_connections {self.connections}", f"iot_protocol {'mqttv5' if self.v5 else 'mqttv311'}",
                        "topic up/# out 1", "topic probe/# out 1", "topic q0/# out 0", "topic down/# in 1",
                        *rng.choice(([], ["store probe/#"], ["store up/#"]))]
        self.dynamo = dynamo
        if dynamo:
            self.options += [*dynamo.options(), "store up/0", f"sqlite_file {tmp_path}/store.db"]
        self.broker = broker(options=self.options, start=False)
        self.broker.process.env.update(dynamodb.environment(dynamodb.aws_identity.issue(3600)))
        self.broker.start()
        self.sanitized = bool(self.broker.sanitizer.kinds)
        self.down = None
        self.probes = 0
        self.publishers = [Publisher(self.broker.port, i, random.Random(rng.random()), rng.choice((75, 150, 400)))
                           for i in range(3)]
        self.begin_life()

    # -- what can happen; each leaves things in order

    def end_connections(self):
        self.gate.end(self.rng.choice(("close", "reset", "disconnect")), self.rng.choice((0x80, 0x8B, 0x98)))

    def end_while_sending(self):
        self.gate.fault(self.rng.choice(("close_after", "reset_after")), self.rng.randint(1, 30), count=1)
        self.pause(0.5)
        self.gate.clear()

    def stall(self):
        self.relay.freeze()
        self.pause(1)
        self.relay.mend()

    def cut(self):
        self.relay.cut()
        self.pause(0.3)
        self.relay.mend()

    def byte_by_byte(self):
        self.relay.chunk = self.rng.choice((1, 3, 100))
        self.pause(0.5)
        self.relay.chunk = 65536

    def answer_in_pieces(self):
        self.gate.fault("trickle", [self.rng.choice((1, 2)), 0.001])
        self.pause(0.7)
        self.gate.clear()

    def answer_late(self):
        self.gate.fault("puback_delay", self.rng.choice((0.001, 0.01, 0.2)))
        self.pause(0.7)
        self.gate.clear()

    def change_window(self):
        self.limits["unacknowledged_in"] = self.window()
        self.gate.limit(**self.limits)
        self.gate.end("close")

    def replace_far_side(self):
        port = self.gate.port
        self.gate.stop()
        self.pause(0.2)
        self.gate = self._gate(name=f"gate{len(self.arrivals.gates)}", port=port, **self.limits)
        self.arrivals.add(self.gate)

    def stop_far_side_for_a_while(self):
        self.gate.process.signal(signal.SIGSTOP)
        self.pause(0.7)
        self.gate.process.signal(signal.SIGCONT)

    def commands(self):
        for i in range(self.rng.randint(1, 30)):
            self.gate.publish(f"down/x/{i}", b"command")

    def flood_of_commands(self):
        self.gate.publish("down/x/flood", b"x" * self.rng.choice((10, 1000, 20000)), qos=self.rng.choice((0, 1)),
                          count=self.rng.randint(50, 500))

    def trouble_dynamo(self):
        if self.dynamo:
            self.dynamo.control(rules=self.rng.sample(DYNAMO_FAULTS, 2))
            self.pause(1)
            self.dynamo.control(rules=[])

    def stop_dynamo(self):
        if self.dynamo:
            self.dynamo.stop_proxy()
            self.pause(0.5)
            self.dynamo.start_proxy()

    def reload(self):
        if self.rng.random() < 0.5:
            self.renew_files()
        self.broker.reload()

    def pause_sink(self):
        sink = self.rng.choice(("iotcore", "sqlite", "dynamodb")) if self.dynamo else "iotcore"
        for command in ("pause", "resume"):
            self.broker.publish(CONTROL, json.dumps({"commands": [{"command": command, "sink": sink}]}).encode())
            self.pause(0.2)

    def freeze_broker(self):
        self.broker.process.signal(signal.SIGSTOP)
        self.pause(0.5)
        self.broker.process.signal(signal.SIGCONT)

    def kill(self):
        self.broker.kill9()
        self.broker.start()
        self.begin_life()

    def stop(self):
        self.end_life()
        assert self.broker.stop() == 0
        self.broker.start()
        self.begin_life()

    EVENTS = (end_connections, end_connections, end_while_sending, end_while_sending, stall, cut, byte_by_byte, answer_in_pieces,
              answer_late, change_window, replace_far_side, stop_far_side_for_a_while, commands, flood_of_commands, reload,
              pause_sink, freeze_broker, trouble_dynamo, stop_dynamo, kill, stop)

    def happen(self):
        event = self.rng.choice(self.EVENTS)
        print(f"{time.monotonic() - self.started:.2f} {event.__name__}", flush=True)
        event(self)
        self.pause(0.3)
        self.probe()
        if self.failures() > FAILURES_MAX:
            self.rng.choice((self.kill, self.stop))()
            self.probe()

    # --

    def pause(self, at_most):
        time.sleep(self.rng.uniform(0, at_most))

    def window(self):
        """The far side's Receive Maximum, which only MQTT 5 can tell."""
        return self.rng.choice((1, 2, 20, 100)) if self.v5 else 100

    def renew_files(self):
        identity = self.rng.choice(self.identities)
        shutil.copyfile(identity.cert, self.files[0])
        shutil.copyfile(identity.key, self.files[1])

    def failures(self):
        """The most that one connection has had since the broker was started."""
        lines = self.broker.process.lines(r"iotcore\.(lost|failed|renew|refused).* connection=\d+")
        seen = [re.search(r" connection=(\d+)", line)[1] for line in lines]
        return max((seen.count(c) for c in set(seen)), default=0)

    def settle(self):
        """Waits until nothing is on its way: three times in a row. As long as something comes, there is no hurry."""
        end, count, calm = time.monotonic() + self.patience(), -1, 0
        while calm < 3:
            time.sleep(0.02)
            self.arrivals.look()
            missing = sum(len(p.acked - self.arrivals.numbers(f"up/{p.key}")) for p in self.publishers)
            calm = calm + 1 if missing == 0 else 0
            if self.arrivals.count() != count:
                end, count = time.monotonic() + self.patience(), self.arrivals.count()
            assert time.monotonic() < end, f"nothing comes any more; {missing} are missing"

    def patience(self):
        """How long it may take until messages come again: the pause before the next attempt to connect, and some more."""
        return 3 + (2 ** self.failures() if self.failures() else 0)

    def probe(self):
        """One message each way; some of them with nothing else going on."""
        quiet = self.rng.random() < 0.6
        if quiet:
            self.hush(True)
            self.settle()
        topic, start, lost = f"probe/{self.rng.randint(0, 20)}", time.monotonic(), self.failures()
        self.probes += 1
        self.broker.publish(topic, b'{"n":%d,' % self.probes)
        if not quiet:
            time.sleep(0.05)
            self.hush(True)
            self.settle()
        wait_until(lambda: self.probes in self.arrivals.look().numbers(topic), self.patience(), f"the message on {topic}", 0.01)
        took = time.monotonic() - start
        assert not quiet or took < 1.5 or self.connections > 1 or self.failures() != lost, f"{took} s for a message that came alone"
        before = len(self.down.messages)
        wait_until(lambda: any("down/#" in c["subscriptions"] for c in self.gate.state()["connections"]), self.patience(), "SUBSCRIBE")
        self.gate.publish("down/probe", b"%d" % self.probes)
        wait_until(lambda: any(p.payload == b"%d" % self.probes for p in self.down.messages[before:]), self.patience(), "the command",
                   0.01)
        self.hush(False)

    def hush(self, quiet):
        for p in self.publishers:
            p.quiet.set() if quiet else p.quiet.clear()

    def loop_thread(self):
        found = []
        for task in pathlib.Path(f"/proc/{self.broker.process.pid}/task").iterdir():
            with contextlib.suppress(OSError):  # one that asked for a name has ended
                if (task / "comm").read_text().strip() == "mosquitto-aws":
                    found.append(int(task.name))
        return min(found)

    def watched_by_the_loop(self):
        """Its epoll's entries name files of the loop's table: none of them was made, or left, with a number of the broker's."""
        task = pathlib.Path(f"/proc/{self.broker.process.pid}/task/{self.loop_thread()}")
        for info in (task / "fdinfo").iterdir():
            try:
                text = info.read_text()
            except OSError:  # a file that the pool has closed
                continue
            for fd, inode in re.findall(r"^tfd:\s*(\d+) .* ino:(\w+)", text, re.M):
                there = task / "fd" / fd
                assert there.exists() and os.stat(there).st_ino == int(inode, 16), f"entry {fd} of epoll {info.name}"
                yield fd

    def figures(self):
        """(descriptors of the broker's thread, of the plugin's, KiB) with nothing going on."""
        self.hush(True)
        self.settle()
        self.broker.wait_drained(timeout=60)
        time.sleep(0.3)
        wait_until(lambda: sum(f"lone-{p.key}" in self.broker.log for p in self.publishers) == len(self.publishers), 10)
        process = self.broker.process
        assert len(list(self.watched_by_the_loop())) >= 3
        result = (len(process.files()), len(process.files(self.loop_thread())), process.memory_kb("RssAnon"))
        self.hush(False)
        return result

    def begin_life(self):
        self.down = self.broker.recorder("down/#")
        wait_until(lambda: self.broker.process.lines(r"iotcore\.connected"), 30)
        self.first = self.figures()

    def end_life(self):
        last = self.figures()
        print(f"{time.monotonic() - self.started:.2f} descriptors, memory: {self.first} {last}")
        more = self.connections + 1 + (DYNAMO_CONNECTIONS if self.dynamo else 0)
        assert last[0] <= self.first[0] + more and last[1] <= self.first[1] + more, (self.first, last)
        assert last[2] < self.first[2] + (16384 if self.dynamo else 8192) or self.sanitized, (self.first, last)

    def judge(self):
        """Everything is there, in order, and nothing twice on one connection."""
        for p in self.publishers:
            p.close()
        a = self.arrivals

        def missing():
            a.look()
            return {p.key: sorted(p.acked - a.numbers(f"up/{p.key}"))[:5] for p in self.publishers
                    if p.acked - a.numbers(f"up/{p.key}")}
        wait_until(lambda: not missing(), 60, lambda: f"missing {missing()}", 0.2)
        assert not a.backwards() and not a.twice(), (a.backwards()[:5], a.twice()[:5])
        if self.dynamo:
            self.judge_stores(self.publishers[0].acked)
        print(f"{sum(len(p.acked) for p in self.publishers)} messages, {self.probes} probes")

    def judge_stores(self, acked):
        """Both stores have each number that was acknowledged, and none twice: a message has its key from the spool."""
        for sink in ("sqlite", "dynamodb"):
            self.broker.wait_drained(sink, 120)
        rows = self.broker.store.query("SELECT message FROM measurement WHERE sensor = 'up/0'")
        stored = {"sqlite": [json.loads(row[0])["value"] for row in rows],
                  "dynamodb": [item["message"]["M"]["value"]["S"] for item in self.dynamo.raw_items() if item["sensor"]["S"] == "up/0"]}
        for sink, texts in stored.items():
            found = collections.Counter(int(text[5:text.index(",")]) for text in texts)
            assert not acked - set(found), f"{sink}: missing {sorted(acked - set(found))[:5]}"
            assert max(found.values(), default=1) == 1, f"{sink}: twice {found.most_common(5)}"


@pytest.fixture
def world(request, started, broker, gate, relay, pki, server_id, tmp_path):
    seed = request.config.getoption("--seed") or time.time_ns() % 1000000
    print(f"seed {seed}")
    dynamo = None
    if seed % 2 and dynamodb.dynalite_is_there():
        dynamo = dynamodb.Dynamo(seed=seed)
        started.others.append(dynamo)
        dynamo.create_table()
    w = World(random.Random(seed), broker, gate, relay, pki, server_id, tmp_path, dynamo)
    yield w
    for p in w.publishers:
        p.close()


def test_alone_until_the_window_is_full(broker, gate, client_id, started, build, tmp_path):
    """Messages that come alone fill the far side's window while the plugin's thread does not look at PUBACKs: it looks then."""
    g = gate(publishes_per_second=0, unacknowledged_in=8)
    b = broker(options=[*g.plugin_options(client_id), "iot_publish_rate 0", "topic load/# out 1"])
    g.wait_connected()
    count = 2000
    load = Load(build, tmp_path, b.port, count, rate=1500, window=count)
    started.processes.append(load.process.start())
    g.wait_messages(count, 30)
    times = [e["t"] for e in g.messages()]
    assert max(y - x for x, y in zip(times, times[1:])) < 2
    assert not g.events("violation")


@pytest.mark.parametrize("count, size, qos", [(2000, 500, 1), (60, 100_000, 1), (2000, 500, 0)])
def test_flood_of_commands(broker, gate, client_id, started, build, tmp_path, count, size, qos):
    """While PUBACKs are read later, commands come as fast as they can: all, in order (of QoS 0, what there was room for; the rest is
    told); nothing stalls, and memory has a ceiling."""
    g = gate(publishes_per_second=0, bytes_per_second=0)
    b = broker(options=[*g.plugin_options(client_id), "iot_publish_rate 0", "topic load/# out 1", "topic down/# in 1"], verbose=False)
    g.wait_events("subscribe")
    down = b.recorder("down/#")
    load = Load(build, tmp_path, b.port, 1500, rate=1000, window=1500)
    started.processes.append(load.process.start())
    g.wait_messages(300, 30)
    before = b.process.memory_kb("RssAnon")
    g.publish("down/x", b"x" * size, qos=qos, count=count)
    g.publish("down/end")
    wait_until(lambda: "down/end" in down.topics(), 30, lambda: f"{count} commands; {len(down.messages)} came")
    after = b.process.memory_kb("RssAnon")
    came = [int(p.payload.split()[0]) for p in down.messages[:-1]]
    assert came == (list(range(count)) if qos else sorted(set(came)))
    assert len(came) == count or "downlink.dropped" in b.log
    assert after < before + 16384 or b.sanitizer.kinds, (before, after)
    load.result(60)
    assert len(load.acked()) == 1500
    g.wait_messages(1500, 30)
    times = [e["t"] for e in g.messages()]
    assert max(y - x for x, y in zip(times, times[1:])) < 2
    assert not g.events("violation")
    assert qos == 0 or "downlink.full" not in b.log  # a flood of QoS 0 may leave no room for the last one, which comes again then


@pytest.mark.parametrize("seconds", [4, pytest.param(180, marks=pytest.mark.slow)])
def test_alone_whatever_happens(world, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        world.happen()
    world.judge()
