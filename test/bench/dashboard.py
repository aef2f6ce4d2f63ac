#!/usr/bin/python3
"""Figures of the dashboard for docs/benchmarks.md.

    dashboard.py [--build DIR] [--rows N] [--only sqlite|original|page]

sqlite    N measurements (1,000,000) of 20 sensors: range views, sensor list, export, and 16 clients at once, under FastCGI
original  the original dashboard's page work, 5 sensors x newest 100 from dynalite: client CPU and time of FastCGI, CGI, Flask + boto3
page      weight of the page and time to its first chart, in headless Chromium
"""

import argparse
import concurrent.futures
import http.client
import json
import os
import pathlib
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "test" / "integration"))
from harness import dynamodb  # noqa: E402
from harness.dashboard import Dashboard, fill_sqlite  # noqa: E402
from harness.process import accepts, free_port, wait_until  # noqa: E402

T0 = 1_700_000_000_000
SENSORS = 20

FLASK = """
import json, decimal, os, sys
import boto3
from boto3.dynamodb.conditions import Key
from datetime import datetime
from flask import Flask
app = Flask(__name__)
db = boto3.resource("dynamodb", endpoint_url=sys.argv[2], region_name="eu-central-1")

class Encoder(json.JSONEncoder):
    def default(self, o):
        return str(o) if isinstance(o, decimal.Decimal) else super().default(o)

@app.route("/<sensor>/")
def newest(sensor):
    found = db.Table("greenhouse").query(KeyConditionExpression=Key("sensor").eq(sensor), ScanIndexForward=False, Limit=100)
    messages = []
    for item in found["Items"]:
        item["message"]["timestamp"] = datetime.fromtimestamp(int(item["timestamp"]) / 1000).strftime("%H:%M:%S")
        messages.append(item["message"])
    return json.dumps(messages, cls=Encoder)

app.run(port=int(sys.argv[1]))
"""


def children_cpu(pids):
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / ticks


def children(pid):
    return subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()


def timed(connection, path):
    begin = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, (path, answer.status, body[:200])
    return (time.perf_counter() - begin) * 1000


def show(name, times):
    print(f"{name:44} median {statistics.median(times):7.2f} ms   worst {max(times):7.2f} ms   ({len(times)} requests)")


def bench_sqlite(directory, build, rows):
    each = rows // SENSORS
    step = 86400_000 * 30 // each
    chance = random.Random(1)
    print(f"filling {rows} measurements of {SENSORS} sensors ...", flush=True)
    fill_sqlite(directory / "big.db", ((f"station-{n:02}", T0 + i * step,
                                        f'{{"temperature":{chance.uniform(-5, 30):.2f},"humidity":{chance.uniform(20, 90):.1f},"rain":0.25}}')
                                       for n in range(SENSORS) for i in range(each)))
    d = Dashboard(directory, build, [f"sqlite_file {directory}/big.db"]).start()
    connection = http.client.HTTPConnection("127.0.0.1", d.port)
    end = T0 + each * step
    show("sensor list", [timed(connection, "/api/sensors") for _ in range(50)])
    for name, span in (("15 m", 900e3), ("1 h", 3600e3), ("24 h", 86400e3), ("7 d", 7 * 86400e3), ("30 d, all of a sensor", 30 * 86400e3)):
        show(f"range {name}", [timed(connection, f"/api/sensors/station-{n % 20:02}/range?from={int(end - span)}&to={end}") for n in range(20)])
    begin = time.perf_counter()
    csv = d.get(f"/api/sensors/station-00/export.csv?from={T0}&to={end}").body
    print(f"export of {csv.count(10) - 1} measurements, {len(csv) / 1e6:.1f} MB: {(time.perf_counter() - begin) * 1000:.0f} ms")
    load(d, [f"/api/sensors/station-{n:02}/range?from={end - 3600000}&to={end}" for n in range(SENSORS)], "SQLite, 1 h ranges")
    d.process.stop()


def load(d, paths, name, clients=16, seconds=4):
    def client(n):
        connection = http.client.HTTPConnection("127.0.0.1", d.port)
        times, end = [], time.perf_counter() + seconds
        while time.perf_counter() < end:
            times.append(timed(connection, paths[(n + len(times)) % len(paths)]))
        return times
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        times = sorted(t for result in pool.map(client, range(clients)) for t in result)
    print(f"{name}, {clients} clients: {len(times) / seconds:.0f} requests/s, p50 {times[len(times) // 2]:.1f} ms, "
          f"p99 {times[int(len(times) * 0.99)]:.1f} ms (the Python clients use most of the CPU)")


def page_work(port, rounds):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        for n in range(5):
            connection.request("GET", f"/station-{n}/")
            answer = connection.getresponse()
            assert answer.status == 200 and len(json.loads(answer.read())) == 100
            if answer.will_close:
                connection.close()
        times.append((time.perf_counter() - begin) * 1000)
    return times


def fill_original(dynamo):
    dynamo.create_table()
    for n in range(5):
        for start in range(0, 150, 25):
            dynamo.client.batch_write_item(RequestItems={"greenhouse": [{"PutRequest": {"Item": {
                "sensor": {"S": f"station-{n}"}, "timestamp": {"S": str(T0 + i * 1000)},
                "message": {"M": {k: {"N": str(i / 10)} for k in ("temperature", "humidity", "wind", "wind_direction", "rain")}}}}}
                for i in range(start, start + 25)]})


def cgi_cpu(build, conf, env):
    """CPU of one plain CGI request, lighttpd left out: user and system time of the processes."""
    env = {**os.environ, **env, "DASHBOARD_CONF": str(conf), "REQUEST_METHOD": "GET", "GATEWAY_INTERFACE": "CGI/1.1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for n in range(50):
        done = subprocess.run([build / "dashboard" / "dashboard.cgi"], stdin=subprocess.DEVNULL, capture_output=True,
                              env={**env, "REQUEST_URI": f"/station-{n % 5}/"}, check=True)
        assert b"Status: 200" in done.stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000 / 50


def bench_original(directory, build):
    dynamo = dynamodb.Dynamo(proxy=False)
    env = dynamodb.environment(dynamodb.aws_identity.long_lived("BENCH"))
    try:
        fill_original(dynamo)
        d = Dashboard(directory, build, ["source dynamodb", *dynamo.options()], env=env).start()
        page_work(d.port, 3)
        pids = children(d.process.pid)
        before = children_cpu(pids)
        rounds = 100
        times = page_work(d.port, rounds)
        fast = (children_cpu(pids) - before) * 1000 / rounds
        show("original's page work, FastCGI", times)
        cgi = cgi_cpu(build, d.conf, env)
        d.process.stop()
        port = free_port()
        script = directory / "flask_app.py"
        script.write_text(FLASK)
        flask = subprocess.Popen([sys.executable, script, str(port), f"http://127.0.0.1:{dynamo.port}"], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL,
                                 env={**os.environ, **{k: v for k, v in env.items() if v}})
        try:
            wait_until(lambda: accepts(port), 20)
            page_work(port, 3)
            before = children_cpu([flask.pid])
            times = page_work(port, 30)
            slow = (children_cpu([flask.pid]) - before) * 1000 / 30
        finally:
            flask.terminate()
            flask.wait()
        show("original's page work, Flask + boto3", times)
        print(f"client CPU for the page: FastCGI {fast:.2f} ms, Flask + boto3 {slow:.1f} ms: 1/{slow / max(fast, 0.01):.0f}; "
              f"plain CGI {cgi:.2f} ms a request, start of the process included")
    finally:
        dynamo.close()


def bench_page(directory, build):
    now = int(time.time() * 1000)
    fill_sqlite(directory / "page.db", [(f"s{n}", now - i * 5000, {"temperature": i % 40 / 4, "humidity": 50 + i % 9})
                                        for n in range(3) for i in range(720)])
    d = Dashboard(directory, build, [f"sqlite_file {directory}/page.db"], procs=2).start()
    result = subprocess.run(["node", TOP / "test" / "browser" / "dashboard.mjs", d.url, directory, "speed"], capture_output=True,
                            text=True, check=True)
    d.process.stop()
    figures = json.loads(result.stdout)
    print(f"page: {figures[0]['bytes'] / 1000:.1f} KB with data, compressed; first chart after {sorted(f['ms'] for f in figures)} ms")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, default=TOP / "build" / "release")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", choices=["sqlite", "original", "page"])
    args = parser.parse_args()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="bench-dashboard-"))
    try:
        if args.only in (None, "sqlite"):
            bench_sqlite(directory, args.build.resolve(), args.rows)
        if args.only in (None, "original"):
            bench_original(directory, args.build.resolve())
        if args.only in (None, "page"):
            bench_page(directory, args.build.resolve())
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
