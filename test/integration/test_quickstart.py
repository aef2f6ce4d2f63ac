"""quickstart and the bash sensor."""

import itertools
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.request

import pytest
from harness.files import Store
from harness.process import TOP, accepts, wait_until


@pytest.fixture
def quickstart(program, build, tmp_path):
    numbers = itertools.count(1)
    return lambda *args: program([TOP / "quickstart", "--no-install", "--build", build, "--dir", tmp_path / "run", *args],
                                 f"quickstart-{next(numbers)}")


def test_demo(quickstart, tmp_path):
    """Readings arrive in SQLite and at the stand-in; it ends by itself; nothing is left running. A second one in the same moment finds
    ports of its own."""
    p, other = quickstart("--demo", "--for", "8"), quickstart("--for", "1", "--dir", tmp_path / "other")
    assert p.wait(60) == 0, p.tail()
    assert other.wait(60) == 0, other.tail()
    text = p.text()
    assert not ports(text) & ports(other.text())
    assert re.search(r"SQLite .*weather-station-1 \{.*temperature", text)
    assert re.search(r"stand-in .*shadow/update \{\"state\"", text)
    assert len(Store(tmp_path / "run" / "measurements.db").rows("sensor LIKE 'weather-station-%'")) >= 4
    wait_until(lambda: not any(accepts(port) for port in ports(text)))


def ports(text):
    """The TCP ports that quickstart says it uses."""
    found = {int(x) for x in re.findall(r"(?<!udp://)(?:127\.0\.0\.1:|port )(\d+)", text.split("Try,")[0])}
    assert len(found) == 6
    return found


def test_every_part_works(quickstart, tmp_path):
    """Into the stores by HTTPS and by MQTT-SN, out of them through the dashboard."""
    p = quickstart()
    p.wait_log("Ctrl-C ends", 60)
    url = re.search(r"https://localhost:\d+", p.text())[0]
    token = (tmp_path / "run" / "tokens").read_text().split()[0]
    context = ssl.create_default_context(cafile=str(tmp_path / "run" / "certs" / "ca.crt"))
    request = urllib.request.Request(f"{url}/topics/sensors/attic?qos=1", b'{"temperature":19.5}',
                                     {"Authorization": f"Bearer {token}"})
    assert urllib.request.urlopen(request, context=context, timeout=10).status == 200
    udp = int(re.search(r"udp://127\.0\.0\.1:(\d+)", p.text())[1])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        s.connect(("127.0.0.1", udp))
        s.send(b"\x09\x04\x04\x01\x00\x3cdev")  # CONNECT dev
        assert s.recv(64) == b"\x03\x05\x00"
        topic, reading = b"sensors/roof", b'{"temperature":3.5}'
        s.send(bytes([6 + len(topic), 0x0A, 0, 0, 0, 1]) + topic)  # REGISTER
        topic_id = s.recv(64)[2:4]
        s.send(bytes([7 + len(reading), 0x0C, 0x20]) + topic_id + b"\0\2" + reading)  # PUBLISH, QoS 1
        assert s.recv(64)[-1] == 0
    dashboard = re.search(r"dashboard +(http://127\.0\.0\.1:\d+)", p.text())[1]

    def sensors():
        with urllib.request.urlopen(f"{dashboard}/api/sensors", timeout=10) as answer:
            return {s["sensor"]: s.get("values") for s in json.load(answer)}
    wait_until(lambda: {"attic", "roof"} <= set(sensors()), 15, sensors)
    assert sensors()["roof"] == {"temperature": 3.5}
    assert b"<html" in urllib.request.urlopen(dashboard, timeout=10).read().lower()
    assert p.stop() == 0
    wait_until(lambda: not any(accepts(port) for port in ports(p.text())))


def test_blanks_in_paths_and_a_part_that_ends(quickstart, build, tmp_path):
    """The part that ended is named. lighttpd would take what follows a blank for an argument."""
    built = tmp_path / "a build"
    shutil.copytree(build / "dashboard" / "page", built / "dashboard" / "page")
    for part in ("plugin/mosquitto_aws.so", "websensor/websensor", "mqttsn/mqttsn-gateway", "dashboard/dashboard.cgi"):
        (built / part).parent.mkdir(exist_ok=True)
        shutil.copy(build / part, built / part)
    p = quickstart("--build", built, "--dir", tmp_path / "a run")
    p.wait_log("Ctrl-C ends", 60)
    web = re.search(r"dashboard +(http://\S+/)", p.text())[1]
    assert b"<html" in urllib.request.urlopen(web, timeout=10).read().lower()
    os.kill(int(subprocess.check_output(["pgrep", "-f", f"lighttpd.*{tmp_path}/a run/lighttpd.conf"])), signal.SIGTERM)
    assert p.wait(30) == 1 and "dashboard has ended" in p.text(), p.tail()


def test_taken_ports_and_ctrl_c(quickstart, tmp_path):
    taken = []
    for port in (1883, 1884, 8883, 8080, 8090, 8443):
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
    used = ports(p.text())
    assert not {1883, 1884, 8883, 8080, 8090, 8443} & used
    broker = re.search(r"broker with the plugin +127\.0\.0\.1:(\d+)", p.text())[1]
    subprocess.run(["mosquitto_pub", "-p", broker, "-q", "1", "-t", "sensors/kitchen", "-m", '{"temperature": 21.5}'],
                   check=True)
    p.wait_log(r"SQLite .*kitchen", 10)
    p.wait_log(r"stand-in .*sensors/kitchen", 10)
    before = (tmp_path / "run" / "broker.conf").read_text()
    second = quickstart()
    assert second.wait(20) == 1 and "runs in" in second.text() and (tmp_path / "run" / "broker.conf").read_text() == before
    os.killpg(p.pid, signal.SIGINT)
    assert p.wait(20) == 0
    wait_until(lambda: not any(accepts(port) for port in used))
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
