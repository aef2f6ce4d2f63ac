"""The samples of conf/ and docker/conf/, each loaded by the real program as it stands. (conf/scenarios: test_scenarios.py; the web
servers' snippets: test_dashboard_servers.py and quickstart; docker/conf as a whole: test_docker.py.)"""

import re
import subprocess

import pytest
from harness.broker import Broker
from harness.process import TOP, free_port

PROGRAMS = {"mqttsn-gateway": "mqttsn/mqttsn-gateway", "websensor": "websensor/websensor", "dashboard": "dashboard/dashboard.cgi"}
SAMPLES = [(folder, name) for folder in ("conf", "docker/conf") for name in PROGRAMS]


@pytest.fixture
def binary(build):
    def find(name):
        path = build / PROGRAMS[name]
        if not path.exists():
            pytest.skip(f"{name} is not built")
        return path
    return find


@pytest.mark.parametrize("folder, name", SAMPLES)
def test_is_read(binary, folder, name):
    """Every line that is set comes back in the configuration that results."""
    sample = TOP / folder / f"{name}.conf"
    p = subprocess.run([binary(name), "-c", sample, "--print-config"], capture_output=True, text=True)
    assert p.returncode in (0, 2), p.stderr
    # What bin/run-websensor adds is all that may be missing.
    assert p.returncode == 0 or (folder, name) == ("docker/conf", "websensor") and "certfile" in p.stderr, p.stderr
    for line in re.findall(r"^[a-z].*", sample.read_text(), re.M) if p.returncode == 0 else ():
        option, value = line.split(None, 1)
        assert re.search(rf"^{option}\s+{re.escape(value.split()[0])}", p.stdout, re.M), (line, p.stdout)


def test_mqttsn_gateway_starts(binary, program, plain_broker):
    p = program([binary("mqttsn-gateway"), "-c", TOP / "conf/mqttsn-gateway.conf", "--broker", f"127.0.0.1:{plain_broker().port}", "--listener",
                 f"{free_port()} 127.0.0.1"])
    p.wait_log("uplink.connected")


def test_websensor_starts(binary, program, plain_broker, tmp_path):
    """Only the port is another one."""
    conf = tmp_path / "websensor.conf"
    conf.write_text((TOP / "conf/websensor.conf").read_text().replace("\nhttp_listener 8080\n", f"\nhttp_listener {free_port()}\n"))
    p = program([binary("websensor"), "-c", conf, "--broker", f"127.0.0.1:{plain_broker().port}"])
    p.wait_log("uplink.connected")


@pytest.mark.parametrize("sample", ["conf/mosquitto_aws.conf", "docker/conf/mosquitto.conf"])
def test_mosquitto_loads(started, plugin, tmp_path, sample):
    """With the paths of the test; docker's listener and connection settings are the harness's."""
    b = Broker(tmp_path, name="sample", sanitizer=started.sanitizer)
    text = (TOP / sample).read_text()
    for pattern, by in ((r"^plugin /\S+", f"plugin {plugin}\nplugin_opt_sys_interval 200ms"), (r"^listener .*\n", ""),
                        (r"^(per_listener_settings|allow_anonymous|log_dest|connection_messages|persistence\w*) .*\n", ""),
                        (r"/var/lib/(mosquitto|spool|measurements)/", f"{tmp_path}/"), (r"/etc/mosquitto-aws/", f"{TOP}/docker/conf/")):
        text = re.sub(pattern, by, text, flags=re.M)
    b.conf = text if "plugin_opt_spool_dir" in re.sub("^#.*", "", text, flags=re.M) else f"{text}\nplugin_opt_spool_dir {tmp_path}/spool"
    b.process.env.update(started.sanitizer.env())
    started.processes.append(b.process)
    b.start()
    b.publish("sensors/1/t", b'{"temperature":21.5}')
    b.wait_drained("sqlite")
    assert "config.invalid" not in b.log and (tmp_path / "measurements.db").exists()
