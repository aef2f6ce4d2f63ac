"""Fixtures for the tests of mqttsn-gateway; a test file says `from mqttsn_harness import *`.

    mqttsn      mqttsn(broker, "option value", ..., dtls=None) -> Gateway, started
    device      device(gateway, "id", **Device options) -> mqttsn_client.Device, closed with the test
"""

import json
import signal

import pytest

from harness.process import free_port, wait_until
from mqttsn_client import Device

__all__ = ["Gateway", "publish_and_settle", "mqttsn", "device"]


class Gateway:
    """A running mqttsn-gateway on 127.0.0.1:port. Options are lines of its file; without a listener line one on `port`."""

    def __init__(self, start, program, directory, broker, options, name):
        self.port = free_port()
        self.broker = broker
        self.status_topic = f"gateway/{name}"
        lines = [str(o) for o in options]
        if not any(o.startswith("listener ") for o in lines):
            lines.append(f"listener {self.port} 127.0.0.1")
        if not any(o.startswith("broker ") for o in lines):
            lines.append(f"broker 127.0.0.1:{broker.port}")
        lines += [f"status_topic {self.status_topic}", "status_interval 200ms", "log_type all"]
        self.config = directory / f"{name}.conf"
        self.config.write_text("\n".join(lines) + "\n")
        self.process = start([program, "-c", self.config], name=name)
        self.process.wait_log("mqttsn.started")

    def reload(self):
        count = len(self.process.lines("mqttsn.reloaded"))
        self.process.signal(signal.SIGHUP)
        self.process.wait_log("mqttsn.reloaded", count=count + 1)

    def wait_log(self, pattern, **more):
        return self.process.wait_log(pattern, **more)

    def status(self):
        """The status as it comes next (not the retained one from before)."""
        with self.broker.recorder(self.status_topic) as c:
            return json.loads(c.wait_messages(2)[-1].payload)

    def wait_status(self, timeout=10, **values):
        """Waits until the status has these values (functions judge)."""
        with self.broker.recorder(self.status_topic) as c:
            def good():
                if not c.messages:
                    return None
                s = json.loads(c.messages[-1].payload)
                fits = all(k in s and (v(s[k]) if callable(v) else s[k] == v) for k, v in values.items())
                return s if fits else None
            return wait_until(good, timeout, lambda: f"{values}; last {c.messages[-1:]}")

    def stop(self):
        return self.process.stop()

    def rss(self):
        """Private memory in bytes."""
        with open(f"/proc/{self.process.pid}/smaps_rollup") as f:
            return sum(int(line.split()[1]) * 1024 for line in f if line.startswith("Private_"))


def publish_and_settle(broker, gateway, *messages):
    """Publishes (topic, payload[, qos]) and waits until the gateway keeps them for its sleepers. The broker's acknowledgement
    does not say so: it may hold the message back until what it sent before is acknowledged by TCP, for 40 ms."""
    before = gateway.status()["queued_bytes"]
    size = 0
    for topic, payload, *qos in messages:
        broker.publish(topic, payload, *(qos or [1]))
        size += len(payload)
    gateway.wait_status(queued_bytes=before + size)


@pytest.fixture
def mqttsn(program, build, tmp_path):
    path = build / "mqttsn" / "mqttsn-gateway"
    if not path.exists():
        pytest.skip(f"no gateway at {path}")

    def make(broker, *options, name="mqttsn"):
        return Gateway(program, path, tmp_path, broker, options, name)
    return make


@pytest.fixture
def device():
    devices = []

    def make(gateway, client_id, **options):
        d = Device(gateway if isinstance(gateway, int) else gateway.port, client_id, **options)
        devices.append(d)
        return d
    yield make
    for d in devices:
        d.close()
