"""The C load tools (test/bench): a publisher that notes what was acknowledged, and a subscriber that counts what arrives."""

import json

from .broker import uplink_options
from .process import Process, free_port, wait_until


class _Tool:
    def __init__(self, build, tool, directory, name, count, argv):
        self.count = count
        self.marks_path = directory / f"{name}.marks"
        self.process = Process(name, [build / "test" / "bench" / tool, *argv, "-n", count, "-A", self.marks_path], directory)

    def marks(self):
        """The byte of each number."""
        return self.marks_path.read_bytes() if self.marks_path.exists() else b""

    def result(self, timeout=120):
        """Waits for the end; what the tool printed."""
        self.process.wait(timeout)
        lines = [line for line in self.process.text().splitlines() if line.startswith("{")]
        assert lines, self.process.tail()
        return json.loads(lines[-1])


class Load(_Tool):
    """mqload: publishes `count` numbered messages; goes on when the broker comes back, unless reconnect is False."""

    def __init__(self, build, directory, port, count, rate=0, connections=1, topic="load/%c", name="load", qos=1, size=128,
                 window=20, reconnect=True):
        super().__init__(build, "mqload", directory, name, count,
                         ["-p", port, "-r", rate, "-c", connections, "-t", topic, "-q", qos, "-s", size, "-w", window,
                          *(["-R"] if reconnect else [])])

    def acked(self):
        """Numbers that were acknowledged."""
        return {i for i, b in enumerate(self.marks()) if b == 2}


class Sink(_Tool):
    """mqsink: counts the arrivals of each number."""

    def __init__(self, build, directory, port, count, topic="load/#", name="sink", qos=1, idle=60):
        super().__init__(build, "mqsink", directory, name, count, ["-p", port, "-t", topic, "-q", qos, "-I", idle])

    def start(self):
        self.process.start()
        self.process.wait_log("ready")
        return self

    def arrived(self):
        """Numbers that came at least once."""
        return {i for i, b in enumerate(self.marks()) if b}

    def twice(self):
        return {i for i, b in enumerate(self.marks()) if b > 1}

    def wait_arrived(self, wanted, timeout):
        """Waits until all these numbers have come."""
        wait_until(lambda: wanted <= self.arrived(), timeout,
                   lambda: f"{len(wanted)} messages; {len(wanted - self.arrived())} of them are missing", 0.2)


class Far(Sink):
    """mqfar: a TLS far side that acknowledges everything and counts; lighter than a mosquitto with a subscriber. tls_port and
    plugin_options() as of harness.broker.FarSide."""

    def __init__(self, build, directory, server, count, name="far", idle=60):
        _Tool.__init__(self, build, "mqfar", directory, name, count, [])
        self.tls_port = free_port()
        self.process.argv += ["-p", str(self.tls_port), "-c", str(server.cert), "-k", str(server.key), "-a", str(server.ca),
                              "-I", str(idle)]

    def plugin_options(self, client):
        return uplink_options(client, self.tls_port)
