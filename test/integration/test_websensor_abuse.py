"""Requests that mean harm: websensor stays up, small and useful."""

import gzip
import itertools
import os
import socket
import time

import pytest
from harness.process import wait_until
from test_websensor import websensor  # noqa: F401 (a fixture)

HEAD = b"POST /topics/a HTTP/1.1\r\nHost: x\r\n"
SMUGGLED = b"POST /topics/smuggled HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1"


@pytest.fixture
def w(plain_broker, websensor):  # noqa: F811
    return websensor(plain_broker().port)


@pytest.mark.parametrize("request_head", [
    HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n1",
    HEAD + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n1",
    HEAD + b"Content-Length: 1, 1\r\n\r\n1",
    HEAD + b"Content-Length: +1\r\n\r\n1",
    HEAD + b"Content-Length: -1\r\n\r\n1",
    HEAD + b"Content-Length: 0x1\r\n\r\n1",
    HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n1",
    HEAD + b"Content-Length : 1\r\n\r\n1",
    HEAD + b"Content-Length: 1\r\n\t5\r\n\r\n1",
    HEAD + b": x\r\nContent-Length: 1\r\n\r\n1",
    HEAD + b"X: a\rContent-Length: 5\r\nContent-Length: 1\r\n\r\n1",
    HEAD + b"\r\n",
    b"POST /topics/a HTTP/1.0\r\n\r\n1",
    b"POST /topics/a HTTP/1.1\r\nHost: x y\r\nContent-Length: 1\r\n\r\n1",
    HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
    b"POST /topics/a HTTP/1.1\r\nContent-Length: 1\r\n\r\n1",
    b"POST /topics/a HTTP/1.1\r\nHost: x\r\nHost: y\r\nContent-Length: 1\r\n\r\n1",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 60\r\n\r\n",
    b"POST http://elsewhere/topics/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1",
    b"POST /topics/a HTTP/9.9\r\nHost: x\r\nContent-Length: 1\r\n\r\n1",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(64),
    b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100000,
    b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: 1\r\n" % i for i in range(5000)),
], ids=itertools.count())
def test_ambiguous_requests(w, request_head):
    """Refused, and what stands behind is not taken for a request."""
    before = w.metrics()["requests"]
    got = w.raw(request_head + SMUGGLED, 3)
    after = w.metrics()
    assert b"200 OK" not in got and after["published"] == 0, got
    assert after["requests"] <= before + 2  # this one, if it came as far as our code, and that for the figures
    assert w.process.running()


@pytest.mark.parametrize("request_head", [HEAD + b"Content-Length:\r\n 1\r\n\r\n1",
                                          HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n"], ids=itertools.count())
def test_folded_lines(w, request_head):
    """RFC 9112 section 5.2: refused, or (libmicrohttpd 1.0) a blank, and then this is one request and another behind it."""
    got = w.raw(request_head + SMUGGLED, 3)
    assert (got.count(b"200 OK"), w.metrics()["published"]) in [(0, 0), (2, 2)], got


def test_abuse_costs_no_memory(w, build):
    """Half requests, ambiguous ones, oversize and broken bodies, again and again."""
    sizes = []
    for _ in range(4):
        for i in range(150):
            s = w.connect()
            s.sendall([HEAD + b"Content-Length: 100000\r\n\r\n" + b"x" * 50000, HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n1",
                       HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffff\r\n" + b"x" * 60000, b"GET /" + b"a" * 9000,
                       HEAD + b"Content-Encoding: gzip\r\nContent-Length: 20\r\n\r\n\x1f\x8b\x08" + os.urandom(17)][i % 5])
            s.close()
        assert w.post("/topics/a", "1").status == 200
        wait_until(lambda: w.metrics()["connections"] < 5, 5, "broken connections to go")
        sizes.append(w.memory_kb())
    check_flat(build, sizes)


def test_slow_bodies(w, build):
    """Bodies that never end: their memory is bounded, and they give way to those that do end."""
    before, held = w.memory_kb(), []
    for _ in range(4):
        for _ in range(300):
            s = w.connect()
            s.sendall(HEAD + b"Content-Length: 130000\r\n\r\n" + b"x" * 100000)
            held.append(s)
        start = time.monotonic()
        assert w.post("/topics/a", b"x" * 2000).status == 200
        assert time.monotonic() - start < 2
    if "san" not in build.name:
        assert w.memory_kb() < before + (32 + 16 + 8) * 1024  # bodies, the library's memory of 1,024 connections, slack
    for s in held:
        s.close()


def test_oversize(w):
    big = 200 * 1024
    assert w.post("/topics/a", b"x" * (128 * 1024)).status == 200
    got = w.raw(b"POST /topics/a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % big)
    assert b" 413 " in got
    chunk = b"%x\r\n" % big + b"x" * big + b"\r\n0\r\n\r\n"
    assert b" 413 " in w.raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk)
    assert b" 413 " in w.raw(HEAD + b"Content-Length: 9999999999\r\nExpect: 100-continue\r\n\r\n")


def check_flat(build, sizes, slack_kb=2048):
    """Memory after each round of the same: the first ones may fill pools."""
    if "san" not in build.name:  # sanitizers keep what was freed
        assert max(sizes[2:]) <= max(sizes[:2]) + slack_kb, sizes


def test_gzip_bomb(w, build):
    bomb = gzip.compress(b"\0" * (100 << 20), 9)[:120 * 1024]
    before = w.memory_kb()
    for _ in range(20):
        assert w.post("/topics/a", bomb, headers={"Content-Encoding": "gzip"}).status in (400, 413)
    for bad in (b"", b"\x1f\x8b", gzip.compress(b"1")[:-4], gzip.compress(b"1") + b"more", b"plain"):
        assert w.post("/topics/a", bad, headers={"Content-Encoding": "gzip"}).status == 400
    quarantine = 65536 if "san" in build.name else 0  # what a sanitizer keeps
    assert w.memory_kb() < before + 8192 + quarantine


def slow(w, count, source, keep):
    for _ in range(count):
        try:
            s = w.connect(source=source, timeout=5)
            s.sendall(b"POST /topics/a HTTP/1.1\r\nHost: x\r\nX-")
            keep.append(s)
        except OSError:
            pass


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
def test_slow_loris(plain_broker, websensor, source, request, build):  # noqa: F811
    """Connections that never finish a request give way to those that do."""
    count = 5000 if request.config.getoption("--long") else 700
    w = websensor(plain_broker().port, options=[f"max_connections {count // 5}"])
    held, sizes = [], []
    for _ in range(5):
        slow(w, count // 5, source, held)
        start = time.monotonic()
        assert w.post("/topics/a", "1").status == 200
        assert time.monotonic() - start < 2
        sizes.append(w.memory_kb())
    assert w.metrics()["connections"] <= count // 5
    check_flat(build, sizes)
    for s in held:
        s.close()


def test_deadlines(w):
    """A header that trickles in has 10 s, however often a byte comes."""
    s = w.connect(timeout=2)
    s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
    start = time.monotonic()
    ended = False
    while not ended and time.monotonic() - start < 16:
        try:
            s.sendall(b"a")
            s.settimeout(0.5)
            ended = s.recv(4096) == b""
        except socket.timeout:
            pass
        except OSError:
            ended = True
    assert ended and 8 < time.monotonic() - start < 15


def test_rate_limit(plain_broker, websensor):  # noqa: F811
    w = websensor(plain_broker().port, options=["rate_limit 5"])
    answers = [w.post("/topics/a", "1") for _ in range(30)]
    limited = [a for a in answers if a.status == 429]
    assert limited and limited[0].headers["retry-after"] and answers[0].status == 200


def test_tls_garbage(plain_broker, websensor, server_id, build):  # noqa: F811
    w = websensor(plain_broker().port, identity=server_id)
    sizes = []
    for _ in range(5):
        for i in range(100):
            s = socket.create_connection(("127.0.0.1", w.https), 5)
            s.sendall([b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01" + os.urandom(500), os.urandom(300), b""][i % 4])
            s.close()
        assert w.post("/topics/a", "1", tls=True).status == 200
        sizes.append(w.memory_kb())
    check_flat(build, sizes)


def test_topics_that_the_broker_dislikes(w):
    """mosquitto closes the connection for them, which is everybody's."""
    for topic in ("a%01b", "a%7f", "a%C2%80", "a%EF%BF%BF", "a%EF%B7%90", "a" + "/" * 201):
        assert w.post(f"/topics/{topic}", "x").status == 400, topic
        assert w.post("/topics/good", "x").status == 200
    for text in ("%01", "%C2%85", "%EF%BF%BF", "a%0D%0Ab"):
        assert w.post(f"/topics/a?contentType={text}", "x").status == 400, text
        assert w.post(f"/topics/a?responseTopic={text}", "x").status == 400, text
        assert w.post("/topics/good", "x").status == 200
    assert w.post("/write?db=x", "a\x01b v=1").status == 400
    assert not w.process.lines("uplink.lost")


def test_a_chunk_extension_that_does_not_end(w):
    """libmicrohttpd has no room to read on, and wants to be run again at once."""
    def ticks():
        with open(f"/proc/{w.process.pid}/stat") as f:
            return sum(int(n) for n in f.read().split()[13:15])
    with socket.create_connection(("127.0.0.1", w.http)) as s:
        s.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n3;" + b"e" * 20000)
        time.sleep(0.3)
        before = ticks()
        time.sleep(1)
        assert ticks() - before < 30  # hundredths of a second
        assert w.post("/topics/good", "x").status == 200
