"""Benchmarks of mqttsn-gateway (issue 4, shown when 4 and 5), each against plain MQTT clients on the same broker in the same run."""

import contextlib
import json
import pathlib
import statistics
import time

from harness.broker import Broker
from harness.load import Load
from harness.process import Process, free_port, wait_until
from spine import cpu_ns, fresh, medians, running

PAYLOAD = 64
CLIENTS = 100


class Gateway:
    """A release build of the gateway in front of `broker`, without logging of each client."""

    def __init__(self, context, directory, broker, *options, name="mqttsn"):
        self.broker = broker
        self.port = free_port()
        arguments = ["--listener", f"{self.port} 127.0.0.1", "--broker", f"127.0.0.1:{broker.port}", "--log_type",
                     "error warning notice", "--status_topic", f"gateway/{name}", "--status_interval", "1s",
                     "--max_clients", "20000"]
        for option in options:
            key, value = option.split(" ", 1)
            arguments += [f"--{key}", value]
        self.process = Process(name, [context.build / "mqttsn" / "mqttsn-gateway", *arguments], directory)
        self.process.start()
        self.process.wait_log("uplink.connected")

    def cpu_us(self):
        return sum(cpu_ns(self.process.pid)) / 1000

    def private_kb(self):
        rollup = pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_"))

    def status(self):
        with self.broker.recorder(f"gateway/{self.process.name}") as c:
            return json.loads(c.wait_messages(2, 10)[-1].payload)


class Devices:
    """snload against a gateway."""

    def __init__(self, context, directory, gateway, *arguments, name="snload"):
        argv = [context.build / "test" / "bench" / "snload", "-p", gateway.port, "-s", PAYLOAD, *arguments]
        self.process = Process(name, argv, directory).start()

    def result(self, timeout=300):
        self.process.wait(timeout)
        return json.loads([line for line in self.process.text().splitlines() if line.startswith("{")][-1])


def plain(context, directory, broker, count, clients=CLIENTS, qos=1, rate=0):
    """The same by plain MQTT clients."""
    load = Load(context.build, directory, broker.port, count, rate=rate, connections=clients, qos=qos, size=PAYLOAD, window=1,
                reconnect=False)
    load.process.start()
    return load.result(300)


@contextlib.contextmanager
def setup(context, name, *options, conf="max_queued_messages 0"):
    directory = fresh(context, name)
    broker = Broker(directory, name="broker", conf=conf, verbose=False)
    broker.start()
    gateway = Gateway(context, directory, broker, *options)
    with running(broker, gateway.process):
        yield directory, broker, gateway


def against_plain(context, name, options, conf, count):
    """[(rate ratio, gateway CPU us per message, our rate, plain rate, our p50, plain p50)] per round."""
    rows = []
    with setup(context, name, *options, conf=f"max_queued_messages 0\n{conf}") as (directory, broker, gateway):
        for _ in range(context.rounds):
            theirs = plain(context, directory, broker, count)
            before = gateway.cpu_us()
            ours = Devices(context, directory, gateway, "-c", CLIENTS, "-n", count).result()
            cpu = (gateway.cpu_us() - before) / count
            assert ours["finished"] and ours["acked"] == count, ours
            after = plain(context, directory, broker, count)
            rate = (theirs["rate"] + after["rate"]) / 2
            rows.append((ours["rate"] / rate, cpu, ours["rate"], rate, ours["p50_us"], theirs["p50_us"]))
    return rows


def bench_mqttsn_qos1(context):
    """QoS 1, 100 clients, one message at a time each: rate against plain MQTT, CPU of the gateway. The broker's window
    (max_inflight_messages, 20 by default) is what aggregate has to fit through."""
    count = context.size(200000)
    for name, options, conf, least, most in (
            ("one connection per client", (), "", 0.6, 12), ("aggregate", ("aggregate true",), "", 0.9, 6),
            ("aggregate, window 1000", ("aggregate true",), "max_inflight_messages 1000", 0.9, 6)):
        ratio, cpu, ours, theirs, p50, plain_p50 = medians(against_plain(context, "qos1", options, conf, count))
        print(f"{name:26} {ours:8.0f}/s  plain MQTT {theirs:8.0f}/s  ratio {ratio:.2f} (wanted {least})  gateway "
              f"{cpu:.1f} us a message (wanted {most})  p50 {p50:.0f} us, plain {plain_p50:.0f} us")


def bench_mqttsn_latency(context):
    """QoS 1, one client; CONNECT to CONNACK of clients that come one after the other."""
    count = context.size(20000)
    rows, connacks = [], []
    with setup(context, "latency") as (directory, broker, gateway):
        for _ in range(context.rounds):
            theirs = plain(context, directory, broker, count, clients=1)
            ours = Devices(context, directory, gateway, "-c", 1, "-n", count).result()
            rows.append((ours["p50_us"], ours["p99_us"], theirs["p50_us"], theirs["p99_us"]))
        for i in range(20 * context.rounds):
            connacks.append(Devices(context, directory, gateway, "-c", 1, "-i", f"c{i}").result()["connack_p50_us"])
    p50, p99, plain50, plain99 = medians(rows)
    print(f"p50 {p50:.0f} us, plain MQTT {plain50:.0f} us: {p50 - plain50:.0f} us more (wanted 60)  p99 {p99:.0f} us, plain "
          f"{plain99:.0f} us  CONNACK p50 {statistics.median(connacks):.0f} us (wanted 2000)")


def bench_mqttsn_qos0(context):
    """QoS 0, 100 clients, 40,000/s: what is lost between the devices and the broker."""
    for name, options in (("one connection per client", ()), ("aggregate", ("aggregate true",))):
        with setup(context, "qos0", *options) as (directory, _, gateway):
            count = context.size(400000)
            before, cpu = gateway.status()["received"], gateway.cpu_us()
            ours = Devices(context, directory, gateway, "-c", CLIENTS, "-n", count, "-q", 0, "-r", 40000).result()
            time.sleep(1.5)
            got = gateway.status()["received"] - before
            cpu = (gateway.cpu_us() - cpu) / count
            print(f"{name:26} {ours['rate']:8.0f}/s sent, {count - got} of {count} lost (wanted 0)  gateway {cpu:.1f} us a "
                  f"message")


def bench_mqttsn_10000(context):
    """10,000 clients: connect rate, memory, CPU idle and with a message a minute each."""
    clients = 1000 if context.quick else 10000
    with setup(context, "many") as (directory, _, gateway):
        Devices(context, directory, gateway, "-c", 10, "-i", "warm").result()
        empty = gateway.private_kb()
        holder = Devices(context, directory, gateway, "-c", clients, "-n", 0, "-H", 12, "-k", 600)
        wait_until(lambda: "holding" in holder.process.text(), 60)
        memory = (gateway.private_kb() - empty) * 1024 / clients
        before, started = gateway.cpu_us(), time.monotonic()
        time.sleep(10)
        idle = (gateway.cpu_us() - before) / 1e4 / (time.monotonic() - started)
        connect = holder.result()
        # each of them a message a minute
        seconds = 6 if context.quick else 60
        count = clients * seconds // 60
        started = time.monotonic()
        before_cpu, before = gateway.cpu_us(), gateway.status()["received"]
        minute = Devices(context, directory, gateway, "-c", clients, "-n", count, "-r", clients / 60, "-k", 600).result()
        busy = (gateway.cpu_us() - before_cpu) / 1e4 / (time.monotonic() - started)
        time.sleep(1.5)
        lost = count - (gateway.status()["received"] - before)
        print(f"{clients} clients: {connect['connect_rate']:.0f} connects/s (wanted 5000), {memory:.0f} bytes of private memory a "
              f"client, sockets apart (wanted 2048), idle {idle:.2f} % CPU (wanted 1)")
        print(f"a message a minute each: {lost} of {count} lost, {minute['retransmitted']} sent again, {busy:.1f} % of a core "
              f"(wanted 10; connecting included)")
