"""Benchmarks of the spine: capture, forwarding, spool, SQLite (issue 2, shown when 8)."""

import contextlib
import itertools
import pathlib
import statistics
import subprocess
import time

from harness.broker import Broker, FarSide
from harness.load import Far, Load, Sink
from harness.pki import Pki
from harness.process import wait_until

CLIENTS = 50
PAYLOAD = 128
NODELAY = "set_tcp_nodelay true"


# ---- measuring

def cpu_ns(pid):
    """(CPU time of the main thread, of all other threads) in ns."""
    main = other = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            ns = int((task / "schedstat").read_text().split()[0])
            if task.name == str(pid):
                main += ns
            else:
                other += ns
    return main, other


def anonymous_kb(process):
    return process.memory_kb("RssAnon")


@contextlib.contextmanager
def running(*things):
    """Ends brokers and processes in reverse order."""
    try:
        yield
    finally:
        for thing in reversed(things):
            getattr(thing, "process", thing).kill()


def fresh(context, name):
    directory = context.directory / name
    subprocess.run(["rm", "-rf", directory], check=True)
    directory.mkdir()
    return directory


def publish(context, directory, port, count, qos, rate=0, clients=CLIENTS, window=20, topic="load/%c"):
    """Runs the load; what mqload printed."""
    load = Load(context.build, directory, port, count, rate=rate, connections=clients, qos=qos, size=PAYLOAD, window=window,
                topic=topic, reconnect=False)
    load.process.start()
    return load.result(300)


def medians(rows):
    """Column-wise medians of equally long tuples."""
    return [statistics.median(column) for column in zip(*rows)]


def ratio(a, b):
    """Median of the pairwise ratios of the first column."""
    return statistics.median(x[0] / y[0] for x, y in zip(a, b))


def plugin_path(context):
    return context.build / "plugin" / "mosquitto_aws.so"


# ---- capture

def unreachable(context):
    """Options of an uplink that is never there, so that only the capture is measured."""
    pki = Pki(context.directory / "pki")
    client = pki.client("gateway")
    return ["iot_endpoint localhost:1", f"iot_certfile {client.cert}", f"iot_keyfile {client.key}", f"iot_cafile {pki.ca}",
            "spool_max_size 8G"]


def ingest(context, name, plugin, options, count, qos):
    """(messages/s, broker CPU us per message) of a burst into a fresh broker."""
    directory = fresh(context, name)
    b = Broker(directory, plugin, options, verbose=False).start()
    with running(b):
        before = sum(cpu_ns(b.process.pid))
        result = publish(context, directory, b.port, count, qos)
        cpu = sum(cpu_ns(b.process.pid)) - before
        if plugin and options and "topic load/# out 1" in options:
            wait_until(lambda: b.sys("spool/appended", 15) == str(count), 30, "every message in the spool", 0.5)
    return result["rate"], cpu / count / 1000


def compare_ingest(context, title, options, wanted):
    rows = []
    for qos, count in ((0, 400000), (1, 200000)):
        n = context.size(count)
        stock, ours = [], []
        for _ in range(context.rounds):
            stock.append(ingest(context, "stock", None, [], n, qos))
            ours.append(ingest(context, "ours", plugin_path(context), options, n, qos))
        s, o = medians(stock), medians(ours)
        rows.append([qos, f"{s[0]:,.0f}", f"{o[0]:,.0f}", f"{ratio(ours, stock):.3f}", wanted, f"{s[1]:.2f}", f"{o[1]:.2f}"])
    context.table(title, ["QoS", "stock msg/s", "with plugin msg/s", "ratio", "wanted", "stock CPU us/msg", "with plugin CPU us/msg"],
                  rows)


def bench_capture(context):
    """Ingest with every message routed into the spool, against stock mosquitto."""
    compare_ingest(context, f"Capture: {CLIENTS} clients, {PAYLOAD} B, every message into the spool, far side unreachable",
                   [*unreachable(context), "topic load/# out 1", "sys_interval 1s"], ">= 0.95")


def bench_unmatched(context):
    """Ingest of topics that match no route, with 1,000 routes, against stock mosquitto."""
    routes = [f"topic other/{i}/+/temperature out 1" for i in range(1000)]
    compare_ingest(context, f"No route matches: {CLIENTS} clients, {PAYLOAD} B, 1,000 routes",
                   [*unreachable(context), *routes], ">= 0.99")


# ---- forwarding

class Uplinks:
    """Local brokers that forward to a far side with client certificates: by our plugin or by mosquitto's bridge. The far side is
    "light" (test/bench/mqfar: acknowledges and counts) or a "mosquitto" with a subscriber that counts. `conf`: lines for each
    mosquitto that takes part."""

    def __init__(self, context, conf):
        self.context = context
        self.conf = conf
        self.pki = Pki(context.directory / "pki")
        self.client = self.pki.client("gateway")
        self.server = self.pki.server()

    def plugin(self, directory, far):
        options = [*far.plugin_options(self.client), "topic load/# out 1", "spool_max_size 8G"]
        return Broker(directory, plugin_path(self.context), options, conf=self.conf, name="local", verbose=False)

    def bridge(self, directory, far):
        lines = ["max_queued_messages 0", "max_inflight_messages 100", "connection uplink", f"address localhost:{far.tls_port}",
                 f"bridge_cafile {self.client.ca}", f"bridge_certfile {self.client.cert}", f"bridge_keyfile {self.client.key}",
                 "bridge_protocol_version mqttv50", "cleansession false", "remote_clientid bridge", "topic load/# out 1",
                 self.conf]
        return Broker(directory, None, conf="\n".join(lines), name="local", verbose=False)

    def far_side(self, kind, directory, count):
        """(far side, counter): started."""
        if kind == "light":
            far = Far(self.context.build, directory, self.server, count).start()
            return far, far
        far = FarSide(directory, self.server, conf=self.conf, verbose=False).start()
        return far, Sink(self.context.build, directory, far.port, count, qos=0).start()

    def run(self, kind, count, rate, clients, far_kind="light"):
        """(ingest/s, arrivals/s, p50 us, p99 us, broker CPU us/message, twice) of one stream."""
        directory = fresh(self.context, kind)
        far, counter = self.far_side(far_kind, directory, count)
        local = getattr(self, kind)(directory, far)
        with running(*{far, counter}, local):
            local.start()
            wait_until(lambda: connected_to(local.process.pid, far.tls_port), 20, "the uplink", 0.05)
            time.sleep(0.3)
            before = sum(cpu_ns(local.process.pid))
            sent = publish(self.context, directory, local.port, count, 1, rate, clients)
            got = counter.result(300)
            cpu = sum(cpu_ns(local.process.pid)) - before
        assert got["distinct"] == count, f"{kind}: {got['distinct']} of {count} arrived"
        return sent["rate"], got["rate"], got["p50_us"], got["p99_us"], cpu / count / 1000, got["twice"]


def connected_to(pid, port):
    """Has the process an established connection to this port on 127.0.0.1?"""
    lines = pathlib.Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    return any(f[2] == f"0100007F:{port:04X}" and f[3] == "01" for f in map(str.split, lines))


def bench_drain(context):
    """A burst of 200,000 QoS 1 messages through mutual TLS, against mosquitto's bridge with unlimited queues. With mosquitto's own
    setting of TCP_NODELAY (off), which is the bridge's better one here, and with the one that the latency is measured with."""
    n = context.size(200000)
    fars = (("light", "a light server"), ("mosquitto", "a mosquitto with a subscriber"))
    modes = (("", "set_tcp_nodelay false (mosquitto's default)"), (NODELAY, NODELAY))
    for (far, words), (conf, mode) in itertools.product(fars, modes):
        uplinks, bridge, ours = Uplinks(context, conf), [], []
        for _ in range(context.rounds):
            bridge.append(uplinks.run("bridge", n, 0, CLIENTS, far))
            ours.append(uplinks.run("plugin", n, 0, CLIENTS, far))
        rows = []
        for name, r in (("bridge, max_queued_messages 0", bridge), ("plugin", ours)):
            m = medians(r)
            rows.append([name, f"{m[0]:,.0f}", f"{m[1]:,.0f}", f"{m[4]:.1f}", f"{max(x[5] for x in r):.0f}"])
        arrivals = statistics.median(x[1] / y[1] for x, y in zip(ours, bridge))
        rows.append(["ratio (wanted: ingest >= 1, drain >= 1.5)", f"{ratio(ours, bridge):.2f}", f"{arrivals:.2f}", "", ""])
        context.table(f"Burst of {n:,} QoS 1 messages, {CLIENTS} clients, {PAYLOAD} B, mutual TLS; far side: {words}; {mode}",
                      ["", "ingest msg/s", "drain msg/s (first sent to last arrived)", "broker CPU us/msg", "arrived twice"],
                      rows)


def bench_latency(context):
    """1,000 messages a second through mutual TLS, against mosquitto's bridge, with TCP_NODELAY, which is its better mode here:
    publisher to far side."""
    uplinks, n = Uplinks(context, NODELAY), context.size(10000)
    bridge, ours = [], []
    for _ in range(context.rounds):
        bridge.append(uplinks.run("bridge", n, 1000, 5))
        ours.append(uplinks.run("plugin", n, 1000, 5))
    rows = []
    for name, r in (("bridge, all rounds", bridge), ("bridge, its best round", [min(bridge, key=lambda x: x[2])]),
                    ("plugin", ours)):
        m = medians(r)
        rows.append([name, f"{m[2] / 1000:.3f}", f"{m[3] / 1000:.3f}", f"{m[4]:.1f}"])
    context.table(f"Latency at 1,000/s, QoS 1, {PAYLOAD} B, mutual TLS, publisher to far side",
                  ["", "p50 ms", "p99 ms", "broker CPU us/msg"], rows)


# ---- the spool on disk

def bench_spool(context):
    """Memory with 1,000,000 messages spooled, and the time to open that spool again."""
    n = context.size(1000000)
    directory = fresh(context, "spool")
    b = Broker(directory, plugin_path(context), [*unreachable(context), "topic load/# out 1", "sys_interval 1s"],
               verbose=False).start()
    with running(b):
        publish(context, directory, b.port, 1000, 1)
        before = anonymous_kb(b.process)
        publish(context, directory, b.port, n - 1000, 1)
        wait_until(lambda: int(b.sys("spool/records", 15)) == n, 60, "all in the spool", 0.5)
        after, mapped, size = anonymous_kb(b.process), b.process.memory_kb("RssFile"), int(b.sys("spool/bytes"))
        opened = {}
        for how in ("SIGTERM", "kill -9"):
            (b.stop if how == "SIGTERM" else b.kill9)()
            start = time.monotonic()
            b.process.start()
            b.process.wait_log("running", 60)
            opened[how] = time.monotonic() - start
            wait_until(lambda: b.sys("iotcore/lag", 15) == str(n), 30, "all there again", 0.5)
    context.table(f"Spool with {n:,} messages of {PAYLOAD} B, far side unreachable", ["", "value", "wanted"],
                  [["growth of private (anonymous) memory", f"{(after - before) / 1024:.1f} MiB", "< 16 MB"],
                   ["file pages mapped (shared, the kernel's to drop)", f"{mapped / 1024:.1f} MiB", ""],
                   ["bytes on disk a message", f"{size / n:.0f}", ""],
                   ["start of the broker on it, after SIGTERM", f"{opened['SIGTERM']:.2f} s", "< 1 s"],
                   ["start of the broker on it, after kill -9", f"{opened['kill -9']:.2f} s", "< 1 s"]])


def bench_sqlite(context):
    """Rows a second into SQLite, and CPU per row."""
    n = context.size(200000)
    rows = []
    for _ in range(context.rounds):
        directory = fresh(context, "sqlite")
        b = Broker(directory, plugin_path(context), ["store load/+", "sys_interval 100ms", "spool_max_size 8G"],
                   verbose=False).start()
        with running(b):
            main, other = cpu_ns(b.process.pid)
            start = time.monotonic()
            publish(context, directory, b.port, n, 1)
            b.wait_sys("sqlite/confirmed", str(n), 300)
            seconds = time.monotonic() - start
            main_after, other_after = cpu_ns(b.process.pid)
            assert b.store.count() == n
        rows.append((n / seconds, (other_after - other) / n / 1000, (main_after - main) / n / 1000))
    m = medians(rows)
    context.table(f"SQLite: {n:,} messages of {PAYLOAD} B in a burst, first publish to last commit",
                  ["rows/s", "CPU us/row in our threads", "CPU us/msg in the broker's thread"],
                  [[f"{m[0]:,.0f}", f"{m[1]:.1f}", f"{m[2]:.1f}"]])
