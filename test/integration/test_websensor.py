"""websensor against a real mosquitto with the plugin: every URL ends as a row in SQLite."""

import gzip
import json
import math
import shutil
import signal
import threading
import time

import pytest
from harness.process import wait_until
from harness.websensor import Websensor

STORE = ["store $aws/things/+/shadow/update", "store v3/+/devices/+/up", "store owntracks/+/+", "store sensors/+/#",
         "store other/#"]


@pytest.fixture
def websensor(program, build):
    if not (build / "websensor" / "websensor").exists():
        pytest.skip("websensor is not built")

    def make(broker_port, **more):
        return Websensor(program, build, broker_port, **more).wait_broker()
    return make


def rows(b, sensor, count=1):
    """The readings of a sensor, as soon as there are so many."""
    wait_until(lambda: b.store.count("sensor = ?", sensor) >= count, 10, f"{count} rows of {sensor}", 0.05)
    return b.store.messages(sensor)


TTN = {"end_device_ids": {"device_id": "soil-1", "application_ids": {"application_id": "farm"}},
       "received_at": "2026-11-23T08:00:00Z",
       "uplink_message": {"f_port": 1, "frm_payload": "AQ==", "decoded_payload": {"moisture": 31.5},
                          "rx_metadata": [{"rssi": -100, "snr": 5.5}]}}
LOGGER = {"messageId": 7, "sessionId": "abc", "deviceId": "iphone",
          "payload": [{"name": "accelerometer", "time": 1700000000000000000, "values": {"x": 1, "y": 2, "z": 3}}]}


def test_every_url_becomes_a_row(broker, websensor):
    b = broker(options=STORE)
    w = websensor(b.port)
    for url in ("/walk-sensor/raw", "/walk-sensor/proc"):
        assert w.get(url).body == b"OK"
    cases = [
        ("/topics/sensors/kitchen?qos=1", {"temperature": 21.5}, {}, 200, "kitchen", {"temperature": 21.5}),
        ("/topics/sensors%2Fcellar", {"temperature": 9}, {}, 200, "cellar", {"temperature": 9}),
        ("/topics/sensors/attic?qos=0", {"temperature": 30}, {}, 200, "attic", {"temperature": 30}),
        ("/walk-sensor/raw", [0.1, 2.5, 1], {}, 200, "walk-sensor-raw",
         {"acc_avg": 1.2, "walking": False, "cadence": 0, "confidence": 0}),
        ("/walk-sensor/proc", True, {}, 200, "walk-sensor-proc", {"walking": True}),
        ("/walk-sensor/proc", {"device": "phone1", "walking": False}, {}, 200, "phone1", {"walking": False}),
        ("/ttn", TTN, {}, 200, "soil-1", {"moisture": 31.5, "rssi": -100, "snr": 5.5}),
        ("/api/v1/boiler/telemetry", {"ts": 5, "values": {"t": 61}}, {}, 200, "boiler", {"ts": 5, "t": 61}),
        ("/sensorlogger", LOGGER, {}, 200, "iphone", {"time": 1700000000000, "x": 1, "y": 2, "z": 3}),
        ("/phyphox/lab", {"acc": 1.5}, {"Content-Type": "application/json; utf-8"}, 200, "lab", {"acc": 1.5}),
        ("/owntracks?u=alice&d=phone", {"_type": "location", "lat": 45.1, "lon": 7.6, "tst": 1}, {}, 200, "alice",
         {"_type": "location", "lat": 45.1, "lon": 7.6, "tst": 1}),
        ("/write?db=home&precision=s", "weather,device=roof t=21.5 1700000000", {}, 204, "roof",
         {"device": "roof", "t": 21.5, "time": 1700000000000}),
        ("/api/v2/write?org=o&bucket=shed", gzip.compress(b"air h=40i"), {"Content-Encoding": "gzip"}, 204, "shed", {"h": 40}),
        ("/api/v5/publish", {"topic": "sensors/emqx", "payload": "{\"a\":1}", "qos": 1}, {}, 200, "emqx", {"a": 1}),
    ]
    for url, body, headers, status, sensor, message in cases:
        answer = w.post(url, body, headers=headers)
        assert answer.status == status, (url, answer.body)
        assert rows(b, sensor) == [message], url
    assert w.get("/phyphox/query?a=2").status == 200
    assert rows(b, "query") == [{"a": 2}]
    assert w.metrics()["published"] == len(cases) + 1


def test_answers_that_clients_expect(broker, websensor):
    w = websensor(broker(options=STORE).port)
    answer = w.post("/topics/other/x", "1").json()
    assert answer["message"] == "OK" and len(answer["traceId"]) == 16
    assert w.post("/owntracks?u=a&d=b", {"_type": "lwt"}).body == b"[]"
    assert w.post("/owntracks", "").body == b"[]"
    assert w.get("/ping").status == 204
    for url, body in (("/topics/a/%2B", "1"), ("/topics/$SYS/a", "1"), ("/topics/a%00b", "1"), ("/walk-sensor/raw", "[1,"),
                      ("/write", "nonsense"), ("/ttn", "{}"), ("/topics/a?qos=2", "")):
        answer = w.post(url, body)
        assert answer.status == 400 and answer.json()["error"], url
    assert w.post("/nothing", "1").status == 404
    answer = w.request("DELETE", "/topics/a")
    assert answer.status == 405 and answer.headers["allow"] == "POST, PUT"
    for url in ("/", "/healthz", "/metrics"):
        answer = w.post(url, "1")
        assert answer.status == 405 and answer.headers["allow"] == "GET, HEAD", url
    answer = w.post("/topics/a", "x", headers={"Content-Encoding": "br"})
    assert answer.status == 415 and answer.headers["accept-encoding"] == "gzip"
    assert w.post("/topics/a", "x", headers={"Content-Encoding": "Identity"}).status == 200
    half = gzip.compress(b"x")
    assert w.post("/topics/a", half + half, headers={"Content-Encoding": "X-GZip"}).status == 200
    answer = w.request("OPTIONS", "/healthz")
    assert answer.status == 405 and answer.headers["allow"] == "GET, HEAD"
    got = w.raw(b"POST http://x:1/topics/a HTTP/1.1\r\nHost: x:1\r\nContent-Length: 1\r\n\r\n1")
    assert got.startswith(b"HTTP/1.1 200 OK")


def test_keep_alive_and_pipelining(broker, websensor):
    b = broker(options=STORE)
    w = websensor(b.port)
    c = w.connection()
    for i in range(20):
        c.request("POST", "/topics/sensors/k", str(i))
        assert c.getresponse().read()
        c.request("GET", "/healthz")
        assert c.getresponse().read()
    c.close()
    one = b"POST /topics/sensors/p HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n%d"
    got = w.raw(b"".join(one % i for i in range(10)))
    assert got.count(b"HTTP/1.1 200 OK") == 10
    assert [m["value"] for m in rows(b, "k", 20)] == list(range(20))
    assert [m["value"] for m in rows(b, "p", 10)] == list(range(10))


def test_tokens(broker, websensor, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("# who may what\nkitchen-token sensors/kitchen\nphone $aws/things/+/shadow/update\nfarm sensors/farm/#\n")
    b = broker(options=STORE)
    w = websensor(b.port, options=[f"tokens {tokens}", "ttn_secret hush"])

    def post(url, token=None, **headers):
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return w.post(url, "1" if "telemetry" not in url else "{\"t\":1}", headers=headers).status
    assert post("/topics/sensors/kitchen", "kitchen-token") == 200
    assert post("/topics/sensors/kitchen?token=kitchen-token") == 200
    assert post("/topics/sensors/kitchen", "wrong") == 401
    assert post("/topics/sensors/cellar", "kitchen-token") == 403
    assert post("/topics/$aws/things/x/shadow/update", "kitchen-token") == 403
    assert post("/topics/$aws/things/x/shadow/update", "phone") == 200
    assert post("/topics/sensors/cellar") == 200  # loopback
    assert post("/topics/sensors/cellar", **{"X-Forwarded-For": "192.0.2.1"}) == 401
    assert post("/topics/sensors/cellar", **{"X-Real-IP": "192.0.2.1"}) == 401
    assert post("/topics/sensors/cellar", **{"Origin": "https://elsewhere.example"}) == 403
    assert post("/api/v1/kitchen-token/telemetry") == 200
    assert post("/api/v1/farm/telemetry") == 200
    assert post("/api/v1/unknown/telemetry") == 401
    assert w.post("/ttn", TTN).status == 401
    assert w.post("/ttn", TTN, headers={"X-Webhook-Secret": "hush"}).status == 200
    assert {"t": 1} in rows(b, "kitchen", 3) and {"t": 1} in rows(b, "farm")
    tokens.write_text("new sensors/#\n")
    w.process.signal(signal.SIGHUP)
    w.process.wait_log("server.reloaded")
    assert post("/topics/sensors/kitchen", "kitchen-token") == 401 and post("/topics/sensors/kitchen", "new") == 200
    tokens.write_text("broken\n")
    w.process.signal(signal.SIGHUP)
    w.process.wait_log("server.kept")
    assert post("/topics/sensors/kitchen", "new") == 200


def test_repetitions_are_published_once(broker, websensor):
    b = broker(options=STORE)
    w = websensor(b.port)
    for i in range(3):
        assert w.post("/sensorlogger", LOGGER).status == 200
        assert w.post("/walk-sensor/proc", {"device": "p", "walking": True, "session": "s", "seq": 1}).status == 200
    assert w.post("/walk-sensor/proc", {"device": "p", "walking": True, "session": "s", "seq": 2}).status == 200
    assert len(rows(b, "iphone")) == 1
    b.store.wait_count(2, 10, "sensor = 'p'")
    assert len(rows(b, "p", 2)) == 2 and w.metrics()["repeated"] == 4


def test_walking_is_found(broker, websensor):
    b = broker(options=STORE)
    w = websensor(b.port)
    answer = None
    for second in range(7):
        z = [9.81 + 3 * math.sin(2 * math.pi * 1.8 * (second + i / 60)) for i in range(60)]
        answer = w.post("/walk-sensor/raw", {"device": "walker", "rate": 60, "x": [0] * 60, "y": [0] * 60, "z": z,
                                             "session": "a", "seq": second}).json()
    assert answer["walking"] is True and abs(answer["cadence"] - 108) < 6
    assert rows(b, "walker", 7)[-1]["walking"] is True


def test_tls_and_new_certificate(broker, websensor, pki, tmp_path):
    first, second = pki.server(), pki.expiring("second", server=True)
    cert, key = tmp_path / "s.crt", tmp_path / "s.key"
    shutil.copy(first.cert, cert)
    shutil.copy(first.key, key)
    b = broker(options=STORE)

    class Files:
        ca = first.ca
    Files.cert, Files.key = cert, key
    w = websensor(b.port, identity=Files)
    assert w.post("/topics/sensors/tls", "1", tls=True).status == 200
    kept = w.connection(tls=True)
    shutil.copy(second.cert, cert)
    shutil.copy(second.key, key)
    w.process.signal(signal.SIGHUP)
    w.process.wait_log("server.reloaded")
    w.process.wait_log(f"certificate.expires: .*option=certfile file='{cert}' subject='second' .*days_left=19")
    assert w.post("/topics/sensors/tls", "2", tls=True).status == 200
    kept.request("POST", "/topics/sensors/tls", "3")
    r = kept.getresponse()
    assert r.status == 200 and r.getheader("Connection") == "close"
    key.write_text("no key")
    w.process.signal(signal.SIGHUP)
    w.process.wait_log("server.kept")
    assert w.post("/topics/sensors/tls", "4", tls=True).status == 200
    b.store.wait_count(4, 10, "sensor = 'tls'")


def test_broker_killed_while_clients_post(broker, websensor):
    """Each 200 is a row; everything else is 503; nobody hangs."""
    b = broker(options=STORE)
    w = websensor(b.port)
    answers, stop = [], threading.Event()

    def client(n):
        c, i = None, 0
        while not stop.is_set():
            try:
                c = c or w.connection()
                c.request("POST", f"/topics/sensors/kill/{n}", json.dumps({"n": n, "i": i}))
                r = c.getresponse()
                r.read()
                answers.append((n, i, r.status))
                time.sleep(0.05 if r.status == 503 else 0.01)
            except OSError as e:
                answers.append((n, i, repr(e)))
                c = None
            i += 1
    threads = [threading.Thread(target=client, args=(n,)) for n in range(50)]
    for t in threads:
        t.start()
    time.sleep(1.5)
    b.kill9()
    time.sleep(1.5)
    b.start()
    w.wait_broker()
    time.sleep(1.5)
    stop.set()
    for t in threads:
        t.join(15)
        assert not t.is_alive()
    statuses = {status for _, _, status in answers}
    assert statuses == {200, 503}, statuses
    good = {(n, i) for n, i, status in answers if status == 200}
    b.store.wait_count(len(good), 30, "topic LIKE 'sensors/kill/%'")
    stored = {(m["n"], m["i"]) for m in b.store.messages("kill")}
    assert good <= stored, f"{len(good - stored)} of {len(good)} answered with 200 are not stored"


def test_broker_that_pauses(plain_broker, websensor):
    """Requests wait, however many, without using the processor, and are answered when it goes on."""
    b = plain_broker()
    w = websensor(b.port)
    count = 300
    connections = [w.connect() for _ in range(count)]
    b.process.signal(signal.SIGSTOP)
    try:
        for i, s in enumerate(connections):
            s.sendall(b"POST /topics/a/%d HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1" % i)
        wait_until(lambda: w.metrics()["waiting"] == count, 10, "all requests to wait")
        time.sleep(0.05)
        before = w.process.cpu_seconds()
        time.sleep(0.5)
        assert w.process.cpu_seconds() - before < 0.1
    finally:
        b.process.signal(signal.SIGCONT)
    for s in connections:
        assert s.recv(4096).startswith(b"HTTP/1.1 200 ")
        s.close()
    assert w.metrics()["waiting"] == 0 and w.metrics()["published"] == count


def test_without_a_broker(program, build, plain_broker):
    b = plain_broker()
    b.kill9()
    w = Websensor(program, build, b.port)
    answer = w.post("/topics/a", "1")
    assert answer.status == 503 and int(answer.headers["retry-after"]) > 0 and answer.json()["error"]
    assert w.get("/healthz").status == 503
    assert w.get("/").status == 200
    b.start()
    w.wait_broker()
    assert w.post("/topics/a", "1").status == 200


def test_page(broker, websensor):
    w = websensor(broker(options=STORE).port)
    page = w.get("/")
    assert page.status == 200 and page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert "accelerometer=(self)" in page.headers["permissions-policy"]
    assert "http" not in page.body.decode().split("<main>")[0].replace("https://HOST", "")
    same = w.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert same.status == 304 and same.body == b""
    packed = w.get("/dygraph.min.js", headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(packed.body) == w.get("/dygraph.min.js").body
    assert w.request("HEAD", "/").body == b""
