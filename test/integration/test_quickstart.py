"""quickstart and the bash sensor."""

import os
import re
import signal
import socket
import subprocess
import time

import pytest
from harness.files import Store
from harness.process import TOP, accepts, wait_until


@pytest.fixture
def quickstart(program, plugin, build, tmp_path):
    def start(*args):
        return program([TOP / "quickstart", "--no-install", "--build", build, "--dir", tmp_path / "run", *args], "quickstart")
    return start


def test_demo(quickstart, tmp_path):
    """Readings arrive in SQLite and at the stand-in; it ends by itself; nothing is left running."""
    p = quickstart("--demo", "--for", "8")
    assert p.wait(60) == 0, p.tail()
    text = p.text()
    assert re.search(r"SQLite .*weather-station-1 \{.*temperature", text)
    assert re.search(r"stand-in .*shadow/update \{\"state\"", text)
    assert len(Store(tmp_path / "run" / "measurements.db").rows("sensor LIKE 'weather-station-%'")) >= 4
    ports = re.findall(r"127\.0\.0\.1:(\d+)", text)
    assert len(set(ports)) == 5
    wait_until(lambda: not any(accepts(int(port)) for port in ports))


def test_taken_ports_and_ctrl_c(quickstart, tmp_path):
    taken = []
    for port in (1883, 1884, 8883):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
            s.listen(1)
            taken.append(s)
        except OSError:
            pass  # somebody else has it: just as good
    p = quickstart()
    p.wait_log("Ctrl-C ends", 30)
    ports = [int(x) for x in re.findall(r"127\.0\.0\.1:(\d+)", p.text())]
    assert not {1883, 1884, 8883} & set(ports)
    subprocess.run(["mosquitto_pub", "-p", str(ports[0]), "-q", "1", "-t", "sensors/kitchen", "-m", '{"temperature": 21.5}'],
                   check=True)
    p.wait_log(r"SQLite .*kitchen", 10)
    p.wait_log(r"stand-in .*sensors/kitchen", 10)
    os.killpg(p.pid, signal.SIGINT)
    assert p.wait(20) == 0
    wait_until(lambda: not any(accepts(port) for port in ports))
    for s in taken:
        s.close()


def test_says_what_is_wrong(program, tmp_path):
    p = program([TOP / "quickstart", "--no-install", "--build", tmp_path, "--dir", tmp_path / "run"], "quickstart")
    assert p.wait(20) == 1 and "no plugin" in p.text()
    p = program([TOP / "quickstart", "--nonsense"], "nonsense")
    assert p.wait(20) == 1 and "--nonsense" in p.text()
    p = program([TOP / "quickstart", "--help"], "help")
    assert p.wait(20) == 0 and "--demo" in p.text()


def test_station(plain_broker):
    b = plain_broker()
    seen = b.recorder("$aws/#")
    subprocess.run([TOP / "sensors" / "bash" / "station", "-h", "127.0.0.1", "-p", str(b.port), "-n", "test", "-i", "0.1", "-c",
                    "5"], check=True, timeout=20)
    import json
    for p in seen.wait_messages(5):
        assert p.topic == "$aws/things/test/shadow/update"
        reading = json.loads(p.payload)["state"]["desired"]
        assert -50 <= reading["temperature"] <= 50 and 0 <= reading["humidity"] <= 100
        assert 0 <= reading["wind_direction"] <= 360 and 0 <= reading["wind"] <= 100 and 0 <= reading["rain"] <= 50


def test_station_goes_on_without_a_broker():
    start = time.monotonic()
    p = subprocess.run([TOP / "sensors" / "bash" / "station", "-h", "127.0.0.1", "-p", "1", "-i", "0.1", "-c", "2"],
                       capture_output=True, text=True, timeout=20)
    assert p.returncode == 0 and p.stderr.count("not published") == 2 and time.monotonic() - start < 10
