"""What the plugin leaves on disk, looked at from outside."""

import contextlib
import json
import pathlib
import sqlite3

from .process import wait_until


class Store:
    """The SQLite file of the plugin, opened anew and read-only for each question."""

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def query(self, sql, *args):
        db = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=5)
        try:
            return db.execute(sql, args).fetchall()
        finally:
            db.close()

    def count(self, where="1", *args):
        """Rows of `measurement`; 0 while there is no file or table."""
        try:
            return self.query(f"SELECT count(*) FROM measurement WHERE {where}", *args)[0][0]
        except sqlite3.OperationalError:
            return 0

    def rows(self, where="1", *args):
        """(sensor, timestamp, topic, message as text), by sensor and time."""
        return self.query(f"SELECT sensor, timestamp, topic, message FROM measurement WHERE {where} "
                          "ORDER BY sensor, timestamp", *args)

    def messages(self, sensor):
        """The messages of a sensor as Python values, oldest first."""
        return [json.loads(m) for (m,) in
                self.query("SELECT message FROM measurement WHERE sensor = ? ORDER BY timestamp", sensor)]

    def wait_count(self, n, timeout=15, where="1", *args):
        """Waits for at least n rows; how many there are."""
        return wait_until(lambda: (self.count(where, *args) >= n and self.count(where, *args)), timeout,
                          lambda: f"{n} rows in {self.path}; there are {self.count(where, *args)}", 0.1)


class SpoolDir:
    """A spool directory."""

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def files(self, pattern="*"):
        return sorted(p for p in self.path.rglob(pattern) if p.is_file()) if self.path.exists() else []

    def segments(self):
        """Segment files, oldest first (largest files that are neither set aside nor cursors)."""
        return [p for p in self.files("*.seg")]

    def rejected(self):
        """The messages set aside as undeliverable, as the JSON that is written about each, oldest first. Those that the ceiling
        deletes meanwhile are left out."""
        found = []
        for p in sorted((self.path / "rejected").glob("*.json")):
            with contextlib.suppress(FileNotFoundError):
                found.append(json.loads(p.read_text()))
        return found

    def wait_rejected(self, n=1, timeout=15):
        wait_until(lambda: len(self.rejected()) >= n, timeout, lambda: f"{n} rejected; there are {len(self.rejected())}")
        return self.rejected()
