"""The curl examples of the README against ./quickstart: each ends as a row in SQLite."""

import re
import shlex
import subprocess

from harness.files import Store
from harness.process import TOP

SENSORS = ["kitchen", "walk-sensor-raw", "phone", "walk-sensor-proc", "soil", "iphone", "lab", "desk", "alice", "roof", "yard",
           "attic"]


def test_examples(program, plugin, build, tmp_path):
    p = program([TOP / "quickstart", "--no-install", "--build", build, "--dir", tmp_path / "run"], "quickstart")
    p.wait_log("Ctrl-C ends", 60)
    port = re.search(r"websensor +127\.0\.0\.1:(\d+)", p.text())[1]
    text = (TOP / "README.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("curl ") and "127.0.0.1:8080" in line]
    assert len(lines) == len(SENSORS)
    store = Store(tmp_path / "run" / "measurements.db")
    for line, sensor in zip(lines, SENSORS):
        argv = ["curl", "-sS", "--fail-with-body", "-m", "10", *shlex.split(line.replace(":8080", f":{port}"))[1:]]
        done = subprocess.run(argv, capture_output=True, text=True)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        store.wait_count(1, 10, "sensor = ?", sensor)
    printed = re.search(r"curl .*/api/v1/\w+/telemetry", p.text())[0]
    subprocess.run(["sh", "-c", printed.replace("curl", "curl -sS -m 10 --fail-with-body", 1)], check=True)
    store.wait_count(1, 10, "sensor = 'boiler'")
    printed = re.search(r"curl --cacert .*walk-sensor/proc'", p.text())[0]
    done = subprocess.run(["sh", "-c", printed.replace("curl", "curl -sS -m 10 --fail-with-body", 1)], capture_output=True, text=True)
    assert done.stdout == "OK", done
    store.wait_count(2, 10, "sensor = 'walk-sensor-proc'")
