"""The dashboard in bad company: hostile requests, broken FastCGI, stores that are locked, damaged or written at full speed."""

import json
import os
import pathlib
import socket
import sqlite3
import struct
import subprocess
import threading
import time

import pytest
from harness.dashboard import fill_sqlite
from harness.process import wait_until

T0 = 1_700_000_000_000
REQUESTS = [
    "/api/sensors/x'%20OR%20'1'='1/range?from=0&to=1", "/api/sensors/%27%3B%20DROP%20TABLE%20measurement%3B--/last",
    "/api/sensors/a%0d%0aSet-Cookie:%20x=1/last", "/api/sensors/a/export.csv?metric=%0d%0aX:%201", "/api/sensors/a/last%0d%0aX: 1",
    "/page/../../../../etc/passwd", "/page/..%2f..%2f..%2fetc%2fpasswd", "/page/%2e%2e/%2e%2e/etc/passwd", "/page//etc/passwd",
    "/page/app.js%00.html", "/../dashboard.conf", "/dashboard.conf", "/page/", "/page/dygraph.js.map/../../../../../etc/passwd",
    "/api/sensors/a/range?from=0&to=99999999999999999999", "/api/sensors/a/range?from=-1", "/api/sensors/a/range?points=1000000000",
    "/api/sensors/a/range?from=1&from=2", "/api/sensors/a/range?from=5&to=4", "/api/sensors/a/range?__proto__=1",
    "/api/sensors/" + "a" * 9000 + "/last", "/api/sensors/a/range?metric=" + "m" * 9000, "/?" + "x" * 6000, "/%ff/", "/%00/", "/%/last",
]


@pytest.fixture
def store(tmp_path):
    fill_sqlite(tmp_path / "store.db", [("a", T0 + i * 1000, {"x": i}) for i in range(1000)])
    return tmp_path / "store.db"


@pytest.mark.parametrize("kind", ["fastcgi", "cgi"])
def test_hostile_requests(dashboard, store, kind):
    d = dashboard([f"sqlite_file {store}"], kind)
    for path in REQUESTS:
        with socket.create_connection(("127.0.0.1", d.port), 10) as s:
            s.sendall(f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".replace("\n X: 1", "").encode("latin-1"))
            answer = b""
            while chunk := s.recv(65536):
                answer += chunk
        head, _, body = answer.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        assert status in (200, 400, 403, 404, 414, 431), (path, head)
        assert b"Set-Cookie" not in head and b"\r\nX:" not in head and b"root:" not in body and b"sqlite_file" not in body, path
        assert status != 200 or path.startswith(("/?", "/api/sensors/x", "/page/..")) or b'"t":[]' in body, (path, answer[:300])
    assert d.range("a", **{"from": T0, "to": T0 + 999999})["meta"]["measurements"] == 1000
    assert sqlite3.connect(store).execute("SELECT count(*) FROM measurement").fetchone() == (1000,)


@pytest.mark.parametrize("kind", ["fastcgi", "cgi"])
def test_bodies_and_methods(dashboard, store, kind):
    d = dashboard([f"sqlite_file {store}"], kind)
    assert d.get("/api/sensors", "POST", body=b"x" * 1000).status == 405
    assert d.get("/api/sensors", "DELETE").status == 405
    try:
        assert d.get("/api/sensors", "POST", body=b"x" * 5_000_000).status in (405, 413)
    except OSError:
        pass  # the web server may hang up before it has read all of it
    assert d.get("/api/sensors").status == 200


def record(kind, content=b"", version=1, request=1, padding=0, length=None):
    return struct.pack(">BBHHBx", version, kind, request, len(content) if length is None else length, padding) + content


def pair(name, value, length=None):
    return struct.pack(">BI", len(name), (len(value) if length is None else length) | 0x80000000) + name + value


BEGIN = record(1, struct.pack(">HB5x", 1, 0))
GOOD = record(4, pair(b"REQUEST_METHOD", b"GET") + pair(b"REQUEST_URI", b"/api/config")) + record(4) + record(5)
BROKEN = {
    "noise": b"\xff" * 4096, "version": record(1, b"\0" * 8, version=9), "short": BEGIN[:5], "no begin": GOOD,
    "cut params": BEGIN + record(4, pair(b"A", b"B"), length=5000), "long value": BEGIN + record(4, pair(b"A", b"B", 0x7FFFFFFF)) + record(4),
    "long name": BEGIN + record(4, b"\xff\xff\xff\xff\xff\xff\xff\xff" + b"x" * 20) + record(4),
    "role": record(1, struct.pack(">HB5x", 77, 0)) + GOOD, "abort": BEGIN + record(2), "unknown": BEGIN + record(99, b"x" * 100) + GOOD,
    "two begins": BEGIN + BEGIN + GOOD, "other id": BEGIN + record(4, pair(b"A", b"B"), request=7) + GOOD, "empty": b"",
    "values": record(9, pair(b"FCGI_MAX_CONNS", b""), request=0),
}


def test_malformed_fastcgi(started, build, store, tmp_path):
    """Straight to the program's socket, without a web server in between."""
    conf = tmp_path / "d.conf"
    conf.write_text(f"sqlite_file {store}\n")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    listener.listen(64)
    program = subprocess.Popen([build / "dashboard" / "dashboard.cgi"], stdin=listener, stderr=open(tmp_path / "log", "wb"),
                               env={**os.environ, **started.sanitizer.env(preload=False), "DASHBOARD_CONF": str(conf)})

    def ask(data):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(str(tmp_path / "socket"))
            try:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                answer = b""
                while chunk := s.recv(65536):
                    answer += chunk
                return answer
            except ConnectionError:
                return b""
    try:
        for name, data in BROKEN.items():
            ask(data)
            assert program.poll() is None, name
            assert b"Status: 200" in ask(BEGIN + GOOD), name
    finally:
        program.terminate()
        assert program.wait(20) == 0
        listener.close()


def test_locked_then_not(dashboard, store):
    d = dashboard([f"sqlite_file {store}"])
    db = sqlite3.connect(store, isolation_level=None)
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("BEGIN EXCLUSIVE")
    db.execute("INSERT INTO measurement VALUES('a', 1, 't', '{}')")
    answer = d.get("/api/sensors")
    assert answer.status == 503 and answer.json()["code"] == "store-busy" and answer.headers["Retry-After"] == "1"
    db.rollback()
    db.close()
    wait_until(lambda: d.get("/api/sensors").status == 200, 10)


def test_missing_then_there(dashboard, tmp_path):
    d = dashboard([f"sqlite_file {tmp_path}/later.db"])
    assert d.json("/api/sensors", 503)["code"] == "store-missing"
    (tmp_path / "later.db").touch()
    assert d.json("/api/sensors", 503)["code"] == "store-empty"
    (tmp_path / "later.db").unlink()
    fill_sqlite(tmp_path / "later.db", [("a", T0, {"x": 1})])
    assert len(d.json("/api/sensors")) == 1
    os.rename(tmp_path / "later.db", tmp_path / "old.db")
    fill_sqlite(tmp_path / "later.db", [("b", T0, {"x": 1})])
    assert [s["sensor"] for s in d.json("/api/sensors")] == ["b"]


def test_at_rest_then_written(dashboard, store):
    """A file without a writer is read as it is; when one comes, what it writes is seen."""
    d = dashboard([f"sqlite_file {store}"])
    assert d.json("/api/sensors/a/last")["message"] == {"x": 999}
    db = sqlite3.connect(store)
    db.execute("INSERT INTO measurement VALUES('a', ?, 't', '{\"x\":-1}')", (T0 + 10**9,))
    db.commit()
    assert d.json("/api/sensors/a/last")["message"] == {"x": -1}
    db.close()


def test_beside_a_writer_at_full_speed(dashboard, store):
    d = dashboard([f"sqlite_file {store}"], procs=2)
    stop = threading.Event()
    waits = []

    def write():
        db = sqlite3.connect(store, timeout=5)
        i = 0
        while not stop.is_set():
            begin = time.monotonic()
            for _ in range(200):
                i += 1
                db.execute("INSERT INTO measurement VALUES('busy', ?, 't', '{\"x\":1}')", (T0 + i,))
            db.commit()
            waits.append(time.monotonic() - begin)
        db.close()
    writer = threading.Thread(target=write)
    writer.start()
    try:
        asked, end = 0, time.monotonic() + 30
        while asked < 100 or (len(waits) <= 5 and time.monotonic() < end):
            assert d.get(f"/api/sensors/busy/range?from={T0}&to={T0 + 10**6}").status == 200
            asked += 1
    finally:
        stop.set()
        writer.join()
    assert len(waits) > 5 and max(waits) < 3


def test_mistakes_in_the_configuration(dashboard, build, tmp_path):
    """Both say so to the browser, without the detail; FastCGI goes on by itself once the file is right."""
    fill_sqlite(tmp_path / "store.db", [("a", T0, {"x": 1})])
    d = dashboard([f"sqlite_file {tmp_path}/store.db", "points many"])
    answer = d.get("/api/sensors")
    assert answer.status == 500 and answer.json()["code"] == "not-configured" and b"points" not in answer.body
    d.conf.write_text(f"sqlite_file {tmp_path}/store.db\n")
    wait_until(lambda: d.get("/api/sensors").status == 200, 10, "the corrected configuration", 0.3)
    conf = tmp_path / "bad.conf"
    conf.write_text("sqlite_file x\npoints many\n")
    program = pathlib.Path(build) / "dashboard" / "dashboard.cgi"
    env = {**os.environ, "DASHBOARD_CONF": str(conf)}
    cgi = subprocess.run([program, "-c", "/etc/passwd"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20,
                         env={**env, "GATEWAY_INTERFACE": "CGI/1.1", "REQUEST_METHOD": "GET", "REQUEST_URI": "/api/sensors"})
    assert "bad.conf:2" in cgi.stderr and "points" in cgi.stderr
    assert cgi.stdout.startswith("Status: 500 ") and "bad.conf" not in cgi.stdout and "passwd" not in cgi.stderr
    assert json.loads(cgi.stdout.split("\n\n", 1)[1])["code"] == "not-configured"


def test_export_in_constant_memory(dashboard, tmp_path):
    """200,000 measurements: the program does not grow with them."""
    fill_sqlite(tmp_path / "store.db", [("a", T0 + i, f'{{"x":{i},"text":"{"y" * 50}"}}') for i in range(200000)])
    d = dashboard([f"sqlite_file {tmp_path}/store.db"])
    d.get(f"/api/sensors/a/export.csv?from={T0}&to={T0 + 1000}")
    pids = subprocess.check_output(["pgrep", "-P", str(d.process.pid)], text=True).split()

    def peak():
        return max(int(line.split()[1]) for p in pids for line in pathlib.Path(f"/proc/{p}/status").read_text().splitlines()
                   if line.startswith("VmHWM"))
    before = peak()
    body = d.get(f"/api/sensors/a/export.csv?from={T0}&to={T0 + 10**6}").body
    assert body.count(b"\r\n") == 200001
    assert peak() - before < 4096
