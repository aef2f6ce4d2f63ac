"""The dashboard's page in headless Chromium (test/browser/dashboard.mjs)."""

import json
import os
import re
import sqlite3
import subprocess
import threading
import time
import urllib.parse
import urllib.request

import pytest
from harness.dashboard import BROWSER, browse, browser_is_there, fill_sqlite
from harness.process import TOP, wait_until

pytestmark = pytest.mark.skipif(not browser_is_there(), reason="no Chromium, or no playwright-core: npm ci in test/")


def now():
    return int(time.time() * 1000)


def demo_rows():
    """Three stations for the last hour, one with a gap and with states."""
    end = now()
    for i in range(360):
        t = end - (360 - i) * 10000
        yield "greenhouse", t, {"temperature": 20 + i % 40 / 4, "humidity": 60 + i % 7, "door": "open" if i % 90 < 20 else "closed"}
        yield "cellar", t, {"temperature": 9 + i % 10 / 10}
        if not 150 < i < 220:
            yield "roof", t, {"temperature": 5 + i % 30 / 3, "rain": i % 50 < 5}


OPTIONS = ["title Greenhouse", "metric temperature unit=°C min=8 max=25", "metric humidity unit=%", "refresh 1s"]


@pytest.fixture
def stations(dashboard, tmp_path):
    fill_sqlite(tmp_path / "store.db", demo_rows())
    return dashboard([f"sqlite_file {tmp_path}/store.db", *OPTIONS])


def test_looks(stations, tmp_path):
    """Also with names and numbers that are longer than the screen is wide."""
    fill_sqlite(tmp_path / "store.db", [("roof", now(), {"m" * 150: -1.5e200}), ("s" * 200, now() + 5 * 86400000, {"text": "t" * 300})])
    seen = browse(stations, tmp_path, "look", "?sensor=greenhouse&sensor=roof")
    assert set(seen) == {"desktop", "dark", "phone"}
    for screen in seen.values():
        assert screen == {"violations": [], "overflow": 0}


def test_controls(stations, tmp_path):
    seen = browse(stations, tmp_path, "controls", "?sensor=greenhouse")
    assert seen["tiles"] == ["cellar", "greenhouse", "roof"]
    assert seen["charts"] == ["temperature in °C", "humidity in %", "door"]
    assert seen["both"] == ["greenhouse", "cellar"]
    assert seen["zoomed"][0] == 450 * 1000
    assert 0.1 < seen["zoomed"][1] / seen["zoomed"][0] < 0.3
    assert "from=" in seen["back"]


def test_details(dashboard, tmp_path):
    """Seven minutes of a new sensor. `co2` was missing in the middle of it, `level` comes with every third message."""
    end = now() - 1000
    fill_sqlite(tmp_path / "store.db", [("new", end - (400 - i) * 1000, {
        "temperature": i % 4, **({} if 100 < i < 300 else {"co2": 400 + i}), **({"level": 1.25} if i % 3 == 0 else {}), "door": "open"})
        for i in range(400)])
    d = dashboard([f"sqlite_file {tmp_path}/store.db", "metric temperature unit=°C", "refresh 60s"])
    seen = browse(d, tmp_path, "details", "?sensor=new")
    assert seen["search"] == "?sensor=new&range=15m"
    assert seen["gaps"] == [0, 1, 0]
    moments = {text.split(" at ")[1] for text in seen["cursor"] if text != "–"}
    assert len(seen["cursor"]) == 4 and 1 <= len(moments) <= 2
    assert seen["statistics"] == ["new0 °C1.5 °C3 °C3 °C", "new400599799799", "new1.251.251.251.25"]
    columns = seen["json"]["sensors"]["new"]
    assert set(columns) == {"t", "temperature", "co2", "level", "door"} and len(columns["t"]) == len(columns["co2"]["avg"])
    assert seen["csv"] == 402


def test_sensor_that_is_silent(dashboard, tmp_path):
    """The page opens with the range in which there is something to see."""
    end = now() - 5 * 3600_000
    fill_sqlite(tmp_path / "store.db", [("old", end - i * 1000, {"temperature": i}) for i in range(50)])
    seen = browse(dashboard([f"sqlite_file {tmp_path}/store.db"]), tmp_path, "details")
    assert seen["search"] == "?sensor=old&range=6h"


def test_stale_whatever_the_range_is(dashboard, tmp_path):
    """A reading a minute, the last one an hour ago. A part of a chart of 30 days is longer than that."""
    end = now() - 3600_000
    fill_sqlite(tmp_path / "store.db", [("old", end - i * 60000, {"temperature": i}) for i in range(4000)])
    seen = browse(dashboard([f"sqlite_file {tmp_path}/store.db"]), tmp_path, "details", "?sensor=old&range=30d")
    assert seen["ages"] == ["stale, 60 min ago"]


def test_many_sensors(dashboard, tmp_path):
    t = now()
    fill_sqlite(tmp_path / "store.db", [(f"station-{n:03}", t - 60000 + i * 1000, {"temperature": n + i}) for n in range(300) for i in range(3)])
    seen = browse(dashboard([f"sqlite_file {tmp_path}/store.db"]), tmp_path, "many", "?sensor=station-250")
    assert seen["tiles"] == 101 and seen["found"] == "300 of 300 sensors, the first 101 are shown"
    assert seen["filtered"] == ["station-177", "station-250"] and seen["foundThen"] == "1 of 300 sensors"
    assert seen["violations"] == []


def test_live(stations, tmp_path):
    stop = threading.Event()

    def write():
        i = 0
        db = sqlite3.connect(tmp_path / "store.db", timeout=10)
        while not stop.wait(0.4):
            i += 1
            t = now()
            db.execute("INSERT INTO measurement VALUES('cellar', ?, 't', ?)", (t, json.dumps({"temperature": 100 + i})))
            db.execute("UPDATE sensor SET last = ?, count = count + 1 WHERE sensor = 'cellar'", (t,))
            db.commit()
        db.close()
    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = browse(stations, tmp_path, "live", "?sensor=cellar")
    finally:
        stop.set()
        writer.join()
    assert float(seen["first"].rstrip("°C")) < float(seen["second"].rstrip("°C"))
    assert seen["afterPause"] == seen["second"] and seen["live"] == "Paused"
    seconds = [wait / 1000 for wait in seen["hidden"]]
    assert seconds == [1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 1]  # seen, eleven times hidden, seen


def test_empty(dashboard, tmp_path):
    fill_sqlite(tmp_path / "store.db", [])
    seen = browse(dashboard([f"sqlite_file {tmp_path}/store.db"]), tmp_path, "trouble")
    assert "Nothing stored yet" in seen["empty"] and "mosquitto_pub" in seen["empty"]
    assert seen["violations"] == []


def test_no_store(dashboard, tmp_path):
    seen = browse(dashboard([f"sqlite_file {tmp_path}/nothing.db"]), tmp_path, "trouble")
    assert "There is no store yet" in seen["empty"] and seen["live"] == "Waiting for data"


def test_broken_store(dashboard, tmp_path):
    (tmp_path / "store.db").write_bytes(b"no database" * 500)
    seen = browse(dashboard([f"sqlite_file {tmp_path}/store.db"]), tmp_path, "trouble")
    assert "cannot be read" in seen["problem"] and str(tmp_path) not in seen["problem"]
    assert seen["live"] == "Not up to date" and seen["violations"] == []


def test_recovers(stations, tmp_path):
    """The store goes away under an open page and comes back."""
    browser = subprocess.Popen(["node", BROWSER, stations.url, tmp_path, "recover"], stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "QUERY": "?sensor=cellar"})
    try:
        assert browser.stdout.readline() == "ready\n"
        for end in ("", "-wal", "-shm"):
            if (tmp_path / f"store.db{end}").exists():
                (tmp_path / f"store.db{end}").rename(tmp_path / f"away.db{end}")
        assert browser.stdout.readline() == "problem\n"
        for end in ("-shm", "-wal", ""):
            if (tmp_path / f"away.db{end}").exists():
                (tmp_path / f"away.db{end}").rename(tmp_path / f"store.db{end}")
        seen = json.loads(browser.stdout.readline())
        assert browser.wait(30) == 0
    finally:
        browser.kill()
        browser.wait()
        browser.stdout.close()
    assert "There is no store yet" in seen["problem"] and "may be old" in seen["problem"]
    assert seen["live"] == "Live"


EVIL = ['<img src=x onerror="globalThis.ran=1">', "<script>globalThis.ran=2</script>", "'\"><b>bold</b>", "javascript:globalThis.ran=3"]


def test_text_is_never_markup(dashboard, tmp_path):
    t = now() - 60000
    rows = [(e, t + i * 1000, {e: i, f"state {e}": e, "t": i, "__proto__": i, "constructor": 1}) for e in EVIL for i in range(5)]
    fill_sqlite(tmp_path / "store.db", rows)
    title = "</title><script>globalThis.ran=4</script>"
    d = dashboard([f"sqlite_file {tmp_path}/store.db", f"title {title}", f"metric {EVIL[0].replace(' ', '')} unit=<b>x</b>"])
    query = "?" + "&".join("sensor=" + urllib.parse.quote(e) for e in EVIL)
    seen = browse(d, tmp_path, "text", query)
    assert seen["ran"] is None and seen["images"] == 0
    assert sorted(seen["tiles"]) == sorted(EVIL) and seen["title"] == title


def test_demo_of_quickstart(program, build, tmp_path):
    """What ./quickstart --demo shows: the stations of the demo, live."""
    run = program([TOP / "quickstart", "--no-install", "--build", build, "--dir", tmp_path / "run", "--demo", "--for", "60"], "quickstart")
    url = re.search(r"http://\S+", run.wait_log("dashboard +http", 30))[0].rstrip("/")
    wait_until(lambda: b"weather-station-1" in urllib.request.urlopen(url + "/api/sensors").read(), 20, every=0.2)

    class Page:
        pass
    page = Page()
    page.url = url
    seen = browse(page, tmp_path, "live", "?sensor=weather-station-1")
    assert seen["first"] != seen["second"] and seen["live"] == "Paused"
    run.stop()
