"""The SQLite store in trouble and over time."""

import os
import re
import sqlite3
import subprocess
import time

import pytest
from harness.process import TOP, wait_until


def test_schema(broker):
    b = broker(options=["store s/+"])
    b.publish("s/1", b"1")
    b.store.wait_count(1)
    columns = [(r[1], r[2], r[5]) for r in b.store.query("PRAGMA table_info(measurement)")]
    assert columns == [("sensor", "TEXT", 1), ("timestamp", "INTEGER", 2), ("topic", "TEXT", 0), ("message", "TEXT", 0)]
    assert "WITHOUT ROWID" in b.store.query("SELECT sql FROM sqlite_master WHERE name = 'measurement'")[0][0]
    assert b.store.query("PRAGMA journal_mode")[0][0] == "wal"
    assert [r[1] for r in b.store.query("PRAGMA table_info(sensor)")] == ["sensor", "first", "last", "count"]
    now = time.time() * 1000
    assert now - 10000 < b.store.rows()[0][1] <= now


def test_summary_of_sensors(broker):
    b = broker(options=["store s/+"])
    for i in range(10):
        b.publish(f"s/{i % 2}", b"%d" % i)
    b.store.wait_count(10)
    rows = b.store.query("SELECT s.sensor, s.count, s.first = min(m.timestamp), s.last = max(m.timestamp) FROM sensor s "
                         "JOIN measurement m USING (sensor) GROUP BY s.sensor")
    assert rows == [("0", 5, 1, 1), ("1", 5, 1, 1)]


def test_locked_by_somebody_else(broker):
    """A reader that keeps the database busy only delays."""
    b = broker(options=["store s/+"])
    b.publish("s/1", b"1")
    b.store.wait_count(1)
    db = sqlite3.connect(b.store.path)
    db.execute("BEGIN EXCLUSIVE")
    for i in range(50):
        b.publish("s/1", b"2")
    time.sleep(3)
    assert b.process.running()
    db.rollback()
    db.close()
    b.store.wait_count(51, 40)


def test_retention(broker):
    b = broker(options=["store s/+ time=payload(at)", "sqlite_retention 20s"])
    now = int(time.time())
    for i in range(100):
        b.publish("s/old", b'{"at":%d}' % (now - 7200 + i))
    b.publish("s/new", b'{"at":%d}' % now)
    wait_until(lambda: b.store.count("sensor = 'new'") == 1 and b.store.count("sensor = 'old'") == 0, 15,
               lambda: f"{b.store.count()} rows left", 0.2)
    assert b.store.query("SELECT sensor FROM sensor") == [("new",)]


@pytest.mark.skipif(os.getuid() != 0, reason="needs a mount of its own")
def test_disk_of_the_store_is_full(broker, tmp_path):
    """Rows wait in the spool until there is room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", disk], check=True)
    try:
        b = broker(options=["store s/+", f"sqlite_file {disk}/store.db"])
        with b.client() as c:
            for i in range(1500):
                c.publish("s/1", b'"%04d%s"' % (i, b"x" * 1000))
        b.wait_log("(?i)full|no.space", 20)
        assert b.process.running()
        subprocess.run(["mount", "-o", "remount,size=20M", disk], check=True)
        b.store.wait_count(1500, 60)
        assert b.stop() == 0
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_database_that_is_none(broker, tmp_path):
    (tmp_path / "store.db").write_text("this is no database, but it is long enough to look like one\n" * 50)
    b = broker(options=["store s/+"], start=False)
    b.write_config()
    b.process.start()
    wait_until(lambda: b.process.lines("(?i)not a database|corrupt") or not b.process.running(), 20)
    assert b.process.lines("store.db")


def test_rows_of_a_clock_that_was_ahead(broker):
    """docs/troubleshooting.md says how to be rid of them; the summary of the sensors stays right."""
    b = broker(options=["store s/+ time=payload(at)"])
    now = int(time.time())
    ahead = now + 5 * 365 * 86400
    for sensor, at in [("a", now), ("a", ahead), ("a", now - 60), ("b", ahead), ("c", now - 7), ("a", ahead + 1)]:
        b.publish(f"s/{sensor}", b'{"at":%d}' % at)
    b.store.wait_count(6)
    text = (TOP / "docs" / "troubleshooting.md").read_text()
    db = sqlite3.connect(b.store.path, timeout=5)
    db.executescript(re.search(r"<<'END'\n(.*?)\n *END\n", text, re.S)[1])
    db.close()
    assert sorted((r[0], r[1] // 1000) for r in b.store.rows()) == [("a", now - 60), ("a", now), ("c", now - 7)]
    expected = [("a", now - 60, now, 2), ("c", now - 7, now - 7, 1)]
    assert b.store.query("SELECT sensor, first / 1000, last / 1000, count FROM sensor ORDER BY sensor") == expected
    b.publish("s/b", b'{"at":%d}' % now)
    b.store.wait_count(4)
    assert b.store.query("SELECT count FROM sensor WHERE sensor = 'b'") == [(1,)]


def test_strange_sensors_and_payloads(broker):
    b = broker(options=["store s/#"])
    with b.client() as c:
        for topic in ("s/" + "x" * 500, "s/ü/ß", "s/'; DROP TABLE measurement; --", "s//", "s/ "):
            c.publish(topic, b'{"a":"\xc3\xbc"}')
        c.publish("s/deep", b"[" * 500 + b"]" * 500)
        c.publish("s/broken", b'{"a":')
        c.publish("s/nul", b'{"a":"\\u0000"}')
    b.wait_drained("sqlite")
    assert b.store.count() + len(b.spool.rejected()) == 8
    assert b.store.count("sensor LIKE '%DROP%'") == 1
