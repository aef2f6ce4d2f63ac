"""The ready-made configurations of conf/scenarios, each loaded by the real broker and plugin; only paths and addresses that need
AWS are replaced."""

import base64
import datetime
import json
import pathlib
import re
import shutil
import sqlite3
import subprocess

import pytest
from harness.broker import Broker
from harness.process import TOP, free_port, wait_until
from harness.websensor import Websensor

SCENARIOS = sorted((TOP / "conf" / "scenarios").glob("*.conf"))
# An uplink as The Things Stack v3 sends it, the same by MQTT and by webhook, of the device and formatter of sensors/riot-lorawan.
UPLINK = TOP / "test" / "integration" / "data" / "things-stack-uplink.json"
MEASURED = ("field-7", 1795168800250, {"battery": 3.12, "humidity": 48.5, "temperature": 21.37, "rssi": -97, "snr": 6})


def pytest_generate_tests(metafunc):
    if "uplink" in metafunc.fixturenames:
        files = [UPLINK, *map(pathlib.Path, metafunc.config.getoption("--uplink"))]
        metafunc.parametrize("uplink", [Uplink(f) for f in files], ids=lambda u: u.name)


class Uplink:
    """A file with an uplink, and the measurement that has to come of it."""

    def __init__(self, path):
        self.name = path.stem
        self.text = path.read_bytes()
        uplink = json.loads(self.text)
        ids, message = uplink["end_device_ids"], uplink["uplink_message"]
        self.user = ids["application_ids"]["application_id"] + "@ttn"
        self.topic = f"v3/{self.user}/devices/{ids['device_id']}/up"
        second, fraction = re.fullmatch(r"(.*?)(?:\.(\d+))?Z", uplink["received_at"]).groups()
        received = datetime.datetime.fromisoformat(second + "+00:00")
        values = message.get("decoded_payload") or {"frm_payload": message.get("frm_payload", "")}
        best = max(message["rx_metadata"], key=lambda g: (g.get("snr", 0), g["rssi"]))
        values = {**{k: best[k] for k in ("rssi", "snr") if k in best}, **values}
        self.measured = (ids["device_id"], int(received.timestamp()) * 1000 + int(((fraction or "") + "000")[:3]), values)


class Scenario(Broker):
    """Written from the sample: `replace` is a list of (regular expression, text) beside those that every sample needs."""

    def __init__(self, sample, tmp_path, plugin, client_id, replace=(), **more):
        super().__init__(tmp_path, name=sample.stem, **more)
        text = sample.read_text()
        for pattern, by in [*replace, (r"^plugin /\S+", f"plugin {plugin}"), (r"^(plugin_opt_iot_certfile) .*", rf"\1 {client_id.cert}"),
                            (r"^(plugin_opt_iot_keyfile) .*", rf"\1 {client_id.key}"),
                            (r"/var/lib/mosquitto/", f"{tmp_path}/"), (r"^(plugin_opt_iot_endpoint) \S+amazonaws.*", r"\1 localhost:1"),
                            (r"^(plugin_opt_aws_credentials_endpoint) .*", r"\1 localhost:1"),
                            (r"^(address) \S+:8883", r"\1 127.0.0.1:1")]:
            text = re.sub(pattern, by, text, flags=re.M)
        self.conf = re.sub(r"^(plugin /.*)$", rf"\1\nplugin_opt_spool_dir {tmp_path}/spool\nplugin_opt_sys_interval 200ms", text,
                           flags=re.M)


@pytest.fixture
def scenario(started, plugin, tmp_path, client_id):
    def make(name, replace=()):
        sample = TOP / "conf" / "scenarios" / f"{name}.conf"
        b = Scenario(sample, tmp_path, plugin, client_id, replace, sanitizer=started.sanitizer)
        b.process.env.update(started.sanitizer.env())
        started.processes.append(b.process)
        return b.start()
    return make


def to(far_side, client_id):
    return [(r"^(plugin_opt_iot_endpoint) .*", rf"\1 localhost:{far_side.tls_port}\nplugin_opt_iot_cafile {client_id.ca}")]


@pytest.mark.parametrize("sample", [s.stem for s in SCENARIOS])
def test_loads(scenario, sample):
    b = scenario(sample)
    b.publish("sensors/1/t", b'{"temperature":21.5}')
    assert "config.invalid" not in b.log


def test_greenhouse_stores(scenario, tmp_path):
    b = scenario("greenhouse")
    b.publish("sensors/north/air", b'{"temperature":21.50}')
    b.wait_drained("sqlite")
    with sqlite3.connect(tmp_path / "measurements.db") as db:
        assert db.execute("select sensor, message from measurement").fetchall() == [("north", '{"temperature":21.50}')]


def test_iotcore_up_and_down(scenario, far_side, client_id):
    b = scenario("iotcore", to(far_side, client_id))
    with far_side.recorder("sensors/#") as above, b.recorder("commands/#") as below:
        b.publish("sensors/1", b"1")
        assert above.wait_messages(1, 20)[0].topic == "sensors/1"
        wait_until(lambda: "downlink.subscribed" in b.log or b.process.lines("downlink"), 10, "the subscription")
        far_side.publish("gateways/greenhouse-1/commands/lamp", b"on")
        assert below.wait_messages(1, 20)[0].topic == "commands/lamp"


def test_basic_ingest_topics(scenario, far_side, client_id):
    b = scenario("basic-ingest", to(far_side, client_id))
    with far_side.recorder("$aws/rules/#") as above:
        b.publish("sensors/1", b"1")
        assert above.wait_messages(1, 20)[0].topic == "$aws/rules/measurements/sensors/1"


def measured(path):
    with sqlite3.connect(path) as db:
        return [(s, t, json.loads(m)) for s, t, m in db.execute("select sensor, timestamp, message from measurement")]


def test_things_stack_by_the_bridge(scenario, plain_broker, tmp_path, uplink):
    """mosquitto's own bridge fetches the uplink from a broker that plays The Things Stack's MQTT server, which knows the user."""
    passwords = tmp_path / "ttn-passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, uplink.user, "NNSXS.SECRET"], check=True, capture_output=True)
    passwords.chmod(0o644)
    ttn = plain_broker(name="ttn", port=free_port(), conf=f"password_file {passwords}")
    b = scenario("things-stack", [(r"^address .*", f"address 127.0.0.1:{ttn.port}"), (r"^bridge_capath.*\n", ""),
                                  ("my-application@ttn", uplink.user)])
    wait_until(lambda: re.search(r"mosquitto-aws-my-application", ttn.log), 20, "the bridge")
    with b.recorder(uplink.topic) as seen:
        def arrived():
            ttn.publish(uplink.topic, uplink.text)
            return seen.messages
        wait_until(arrived, 20, "the uplink", 0.5)
    b.wait_drained("sqlite")
    assert measured(tmp_path / "measurements.db") == [uplink.measured]


def test_things_stack_by_the_webhook(scenario, program, build, tmp_path, uplink):
    """The request as The Things Stack sends it: JSON, its own headers, and the secret that the webhook was given."""
    b = scenario("things-stack")
    w = Websensor(program, build, b.port, options=["ttn_secret hush"]).wait_broker()
    headers = {"Content-Type": "application/json", "User-Agent": "TheThingsStack/3.34.1 (linux/amd64)", "X-Tts-Domain": "eu1.cloud.thethings.network",
               "X-Downlink-Apikey": "NNSXS.DOWN", "X-Downlink-Push": "https://eu1.cloud.thethings.network/api/v3/as/applications/x/down/push"}
    assert w.post("/ttn", uplink.text, headers=headers).status == 401
    with b.recorder("v3/#") as seen:
        assert w.post("/ttn", uplink.text, headers={**headers, "X-Webhook-Secret": "hush"}).status == 200
        assert seen.wait_messages(1)[0].topic == uplink.topic
    b.wait_drained("sqlite")
    assert measured(tmp_path / "measurements.db") == [uplink.measured]


def test_what_is_expected_of_the_recording():
    assert Uplink(UPLINK).measured == MEASURED


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_things_stack_recording_is_of_our_formatter():
    message = json.loads(UPLINK.read_text())["uplink_message"]
    call = {"bytes": list(base64.b64decode(message["frm_payload"])), "fPort": message["f_port"]}
    script = (TOP / "sensors/riot-lorawan/formatter.js").read_text() + f"\nconsole.log(JSON.stringify(decodeUplink({json.dumps(call)}).data))"
    p = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    assert json.loads(p.stdout) == message["decoded_payload"]
