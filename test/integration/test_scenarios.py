"""The ready-made configurations of conf/scenarios, each loaded by the real broker and plugin; only paths and addresses that need
AWS are replaced."""

import json
import re

import pytest
from harness.broker import Broker
from harness.process import TOP, free_port, wait_until

SCENARIOS = sorted((TOP / "conf" / "scenarios").glob("*.conf"))
UPLINK = {"end_device_ids": {"device_id": "field-7", "application_ids": {"application_id": "my-application"}},
          "received_at": "2026-11-20T10:00:00.250Z",
          "uplink_message": {"f_port": 1, "f_cnt": 12, "frm_payload": "AQI=", "decoded_payload": {"temperature": 4.25},
                             "rx_metadata": [{"rssi": -110, "snr": -3.5}, {"rssi": -97, "snr": 6.0}]}}


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
    import sqlite3
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


def test_things_stack_by_the_bridge(scenario, plain_broker, tmp_path):
    import sqlite3
    ttn = plain_broker(name="ttn", port=free_port())
    b = scenario("things-stack", [(r"^address .*", f"address 127.0.0.1:{ttn.port}"), (r"^bridge_capath.*\n", ""),
                                  (r"^remote_(username|password).*\n", "")])
    wait_until(lambda: re.search(r"mosquitto-aws-my-application", ttn.log), 20, "the bridge")
    topic = "v3/my-application@ttn/devices/field-7/up"
    with b.recorder(topic) as seen:
        def arrived():
            ttn.publish(topic, json.dumps(UPLINK).encode())
            return seen.messages
        wait_until(arrived, 20, "the uplink", 0.5)
    b.wait_drained("sqlite")
    with sqlite3.connect(tmp_path / "measurements.db") as db:
        rows = db.execute("select sensor, timestamp, message from measurement").fetchall()
    assert [(s, t, json.loads(m)) for s, t, m in rows] == [
        ("field-7", 1795168800250, {"temperature": 4.25, "rssi": -97, "snr": 6.0})]
