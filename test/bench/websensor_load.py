"""Benchmarks of websensor: POST /topics with the PUBACK awaited, against the original's Flask server and a raw MQTT client (issue
5, shown when 6)."""

import json
import pathlib
import statistics
import subprocess
import sys

from harness.broker import Broker
from harness.load import Load
from harness.pki import Pki
from harness.process import Process, accepts, free_port, wait_until
from spine import fresh, running

BODY = json.dumps({"temperature": 21.5, "pad": "x" * 72})
BENCH = pathlib.Path(__file__).parent


def post(context, port, connections, seconds, *more):
    """httpload's figures; requests answered with 2xx per second."""
    argv = [context.build / "test" / "bench" / "httpload", "-p", port, "-c", connections, "-d", seconds, "-b", BODY, *more]
    result = json.loads(subprocess.run([str(a) for a in argv], check=True, capture_output=True, text=True).stdout)
    assert result["errors"] == 0 and result["other"] == 0, result
    return result["requests"] / result["seconds"]


def raw_mqtt(context, directory, port, connections, window):
    """Messages a second, with so many unacknowledged in each connection."""
    load = Load(context.build, directory, port, context.size(100000), connections=connections, qos=1, size=len(BODY), window=window,
                topic="bench", reconnect=False)
    load.process.start()
    return load.result(120)["rate"]


def start_websensor(context, directory, broker, identity):
    plain, tls = free_port(), free_port()
    p = Process("websensor", [context.build / "websensor" / "websensor", "--broker", f"127.0.0.1:{broker.port}",
                              "--http_listener", plain, "--listener", tls, "--certfile", identity.cert, "--keyfile",
                              identity.key, "--max_connections", "20000"], directory).start()
    wait_until(lambda: accepts(plain), 10, "websensor")
    return p, plain, tls


def start_flask(directory, broker):
    port = free_port()
    p = Process("flask", [sys.executable, BENCH / "websensor_flask.py", port, broker.port], directory).start()
    wait_until(lambda: accepts(port), 15, "the Flask server")
    return p, port


def bench_websensor(context):
    """POST /topics, QoS 1 with PUBACK, 16 and 200 connections; Flask + paho; raw MQTT; TLS; memory"""
    directory = fresh(context, "websensor")
    seconds = 0.5 if context.quick else 3
    broker = Broker(directory, verbose=False).start()
    identity = Pki(directory).server()
    websensor, plain, tls = start_websensor(context, directory, broker, identity)
    flask, flask_port = start_flask(directory, broker)
    with running(broker, websensor, flask):
        variants = context.chosen({
            "raw MQTT, QoS 1, 1 client, 16 under way": lambda: raw_mqtt(context, directory, broker.port, 1, 16),
            "raw MQTT, QoS 1, 1 client, 200 under way": lambda: raw_mqtt(context, directory, broker.port, 1, 200),
            "raw MQTT, QoS 1, 16 clients, 1 each": lambda: raw_mqtt(context, directory, broker.port, 16, 1),
            "raw MQTT, QoS 1, 200 clients, 1 each": lambda: raw_mqtt(context, directory, broker.port, 200, 1),
            "websensor, 16 connections": lambda: post(context, plain, 16, seconds),
            "websensor, 200 connections": lambda: post(context, plain, 200, seconds),
            "websensor over TLS, 16 connections": lambda: post(context, tls, 16, seconds, "-T"),
            "websensor over TLS, 200 connections": lambda: post(context, tls, 200, seconds, "-T"),
            "Flask + paho (QoS 0), 16 connections": lambda: post(context, flask_port, 16, seconds, "-C", "-u",
                                                                 "/walk-sensor/proc", "-b", "true"),
        })
        figures = {name: [] for name in variants}
        cpu = {name: [] for name in variants}
        for _ in range(context.rounds):
            for name, measure in variants.items():
                before = websensor.cpu_seconds()
                figures[name].append(measure())
                cpu[name].append((websensor.cpu_seconds() - before) * 1e6 / (figures[name][-1] * seconds))
        median = {name: statistics.median(values) for name, values in figures.items()}

        def of(name, rate, digits):
            """Compared with the variant `name`, if that was measured."""
            return f"{rate / median[name]:.{digits}f}" if name in median else ""

        def of_raw(name, rate):
            """Compared with one raw client that has as many under way."""
            return of(f"raw MQTT, QoS 1, 1 client, {200 if '200' in name else 16} under way", rate, 2)
        context.table("POST /topics, 100 bytes, PUBACK awaited", ["variant", "requests/s", "of raw MQTT", "of Flask", "CPU of websensor, us"],
                      [[name, f"{v:,.0f}", of_raw(name, v), of("Flask + paho (QoS 0), 16 connections", v, 1),
                        f"{statistics.median(cpu[name]):.1f}" if name.startswith("websensor") else ""]
                       for name, v in median.items()])
        if not context.only:
            memory(context, directory, websensor, plain, tls)


def memory(context, directory, websensor, plain, tls):
    """Memory of an idle connection."""
    rows = []
    count = 100 if context.quick else 2000
    for name, port, more in (("plain", plain, []), ("TLS", tls, ["-T"])):
        before = websensor.memory_kb("RssAnon")
        argv = [context.build / "test" / "bench" / "httpload", "-i", "-p", port, "-c", count, "-d", 60, *more]
        idle = Process(f"idle-{name}", argv, directory).start()
        idle.wait_log("ready", 60)
        rows.append([name, count, f"{(websensor.memory_kb('RssAnon') - before) / count:.1f}"])
        idle.kill()
    context.table("Memory of an idle connection", ["", "connections", "KiB each"], rows)
