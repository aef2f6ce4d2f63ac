"""docker/ with an engine that the test starts itself: images are built and small, the system takes messages by every way in, is killed
and restarted meanwhile, and every acknowledged message is a row. Slow (a few minutes): --long."""

import json
import sqlite3
import ssl
import subprocess
import threading
import urllib.request

import pytest
from harness.dynamodb import Fake, FAKES, dynalite_is_there
from harness.engine import BASE, TARGETS, Engine, System, why_not
from harness.mqtt import Accountant, Client
from harness.process import TOP, free_port, wait_until
from mqttsn_client import Device

LIMIT = 150e6  # bytes of all images together, beyond the base
pytestmark = [pytest.mark.slow, pytest.mark.timing, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def engine():
    if why_not():
        pytest.skip(why_not())
    e = Engine()
    if e.why:
        e.close()
        pytest.skip(e.why)
    try:
        e.base()
        for target in TARGETS:
            e.build(target)
        yield e
    finally:
        e.close()


@pytest.fixture
def system(engine, tmp_path):
    s = System(engine, tmp_path, [free_port() for _ in range(5)])
    yield s
    s.down()


def test_images_are_small(engine):
    base = engine.inspect(BASE)["Size"]
    beyond = {t: engine.inspect(f"mosquitto-aws-{t}:test")["Size"] - base for t in TARGETS}
    print({t: f"{size / 1e6:.1f} MB" for t, size in beyond.items()}, f"together {sum(beyond.values()) / 1e6:.1f} MB")
    assert sum(beyond.values()) < LIMIT, beyond


def post(system, path, body, token, context):
    request = urllib.request.Request(f"https://localhost:{system.ports[2]}{path}", body, {"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10, context=context) as answer:
        return answer.status


class Https(threading.Thread):
    """Numbered messages by HTTPS, each sent until it is answered with 200."""

    def __init__(self, system):
        super().__init__(daemon=True)
        self.system, self.acked, self.ending = system, set(), threading.Event()
        home = system.volume("websensor")
        self.token = (home / "tokens").read_text().split()[0]
        self.context = ssl.create_default_context(cafile=str(home / "certs" / "ca.crt"))

    def run(self):
        number = 0
        while not self.ending.wait(0.02):
            try:
                if post(self.system, "/topics/sensors/https/1?qos=1", b'{"n":%d}' % number, self.token, self.context) == 200:
                    self.acked.add(number)
                    number += 1
            except OSError:  # away, or 503
                pass


class MqttSn(threading.Thread):
    """Numbered messages by MQTT-SN with QoS 1, each sent until its PUBACK is there."""

    def __init__(self, system):
        super().__init__(daemon=True)
        self.system, self.acked, self.ending = system, set(), threading.Event()

    def run(self):
        number = 0
        while not self.ending.is_set():
            device = Device(self.system.ports[1], "device", timeout=3)
            try:
                device.connect(timeout=3)
                topic = device.register("sensors/mqttsn/1")
                while not self.ending.wait(0.02):
                    device.publish(topic, b'{"n":%d}' % number, qos=1, timeout=3)
                    self.acked.add(number)
                    number += 1
            except (OSError, AssertionError):
                self.ending.wait(0.2)
            finally:
                device.close()


def stored(system):
    """sensor -> numbers"""
    with sqlite3.connect(system.volume("store") / "measurements.db") as db:
        found = {}
        for sensor, message in db.execute("select sensor, message from measurement"):
            found.setdefault(sensor, set()).add(json.loads(message).get("n"))
        return found


def wait_more(source, more=30):
    """The stream goes on."""
    before = len(source.acked)
    wait_until(lambda: len(source.acked) >= before + more, 90, lambda: f"{source} to go on after {len(source.acked)}", 0.2)


def test_every_acknowledged_message_is_a_row(engine, system):
    system.up()
    for service in TARGETS:
        c = system.container(service)
        user = c["Config"]["User"].split(":")[0]
        assert user not in ("", "0", "root") and c["HostConfig"]["ReadonlyRootfs"], (service, user)
        assert c["HostConfig"]["CapDrop"] == ["ALL"] and not c["HostConfig"]["Privileged"]
        assert "no-new-privileges:true" in c["HostConfig"]["SecurityOpt"]
    mqtt = Accountant(system.ports[0], topic="sensors/mqtt/1", rate=100).start()
    sources = [mqtt, MqttSn(system), Https(system)]
    for source in sources[1:]:
        source.start()
    for source in sources:
        wait_more(source)
    for service in ("broker", "websensor", "mqttsn-gateway", "broker"):
        before = system.container(service)["RestartCount"]
        system.kill9(service)
        wait_until(lambda: system.container(service)["RestartCount"] > before, 60, f"{service} to be started again", 0.2)
        for source in sources:
            wait_more(source)
    system.compose("restart", "-t", "20", "broker")
    for source in sources:
        wait_more(source)
    system.compose("rm", "-s", "-f", "broker", "dashboard")  # new containers, old volumes
    system.up()
    for source in sources:
        wait_more(source)
    mqtt.stop()
    for source in sources[1:]:
        source.ending.set()
        source.join(30)
    wanted = {"mqtt": mqtt.acked, "mqttsn": sources[1].acked, "https": sources[2].acked}
    wait_until(lambda: all(numbers <= stored(system).get(name, set()) for name, numbers in wanted.items()), 60,
               lambda: {name: len(numbers - stored(system).get(name, set())) for name, numbers in wanted.items()}, 0.5)
    print({name: len(numbers) for name, numbers in wanted.items()}, "acknowledged, all are rows")
    system.wait_healthy()
    with urllib.request.urlopen(f"http://127.0.0.1:{system.ports[3]}/api/sensors", timeout=10) as answer:
        assert {"mqtt", "mqttsn", "https"} <= {s["sensor"] for s in json.load(answer)}


def dev_ca(folder, *words):
    subprocess.run([TOP / "certs" / "dev-ca", "-q", "-d", folder, *words], check=True, timeout=60)


@pytest.fixture
def iot_core(engine, system, tmp_path):
    """A broker in the system's network that asks for client certificates, as IoT Core does; it is called iot.test."""
    keys = tmp_path / "keys"
    dev_ca(keys, "server", "iot", "iot.test")
    dev_ca(keys, "client", "gateway")
    far = tmp_path / "far"
    far.mkdir()
    (far / "far.conf").write_text("log_dest stderr\nlistener 8883\nallow_anonymous true\ncafile /keys/ca.crt\ncertfile /keys/iot.crt\n"
                                  "keyfile /keys/iot.key\nrequire_certificate true\nuse_identity_as_username true\nlistener 1883\n")
    for path in [keys, *keys.iterdir()]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    for path in [tmp_path, far]:
        path.chmod(0o755)
    port = free_port()
    engine.docker("run", "-d", "--name", "iot", "--network", f"{system.project}_default", "--network-alias", "iot.test", "-p",
                  f"127.0.0.1:{port}:1883", "-v", f"{keys}:/keys:ro", "-v", f"{far}:/far:ro", "mosquitto-aws-broker:test",
                  "mosquitto", "-c", "/far/far.conf")
    yield keys, port
    engine.docker("rm", "-f", "iot")


@pytest.mark.skipif(not dynalite_is_there(), reason="no dynalite: npm --prefix test ci")
def test_aws_profile(engine, system, request):
    """The same system with .env for AWS: IoT Core and DynamoDB by stand-ins, certificates as secrets."""
    system.up()  # without AWS; makes the network
    keys, look = request.getfixturevalue("iot_core")
    gateway = engine.inspect(f"{system.project}_default")["IPAM"]["Config"][0]["Gateway"]
    port = free_port()
    dynalite = Fake(["node", FAKES / "dynalite.js", port, gateway], cwd=TOP / "test")
    try:
        secrets = system.folder / "secrets"
        for name in ("gateway.crt", "gateway.key", "ca.crt"):
            (secrets / name).write_bytes((keys / name).read_bytes())
        subprocess.run(["chown", "1883:1883", secrets / "gateway.key"], check=True)
        (secrets / "gateway.key").chmod(0o400)
        (system.folder / ".env").write_text(
            "COMPOSE_PROFILES=aws\nIOT_ENDPOINT=iot.test:8883\nIOT_CLIENT_ID=gateway\nIOT_CERTFILE=./secrets/gateway.crt\n"
            "IOT_KEYFILE=./secrets/gateway.key\nIOT_CAFILE=./secrets/ca.crt\nAWS_REGION=eu-west-1\nAWS_ACCESS_KEY_ID=AKIDEXAMPLE\n"
            f"AWS_SECRET_ACCESS_KEY=secret\nDYNAMODB_TABLE=measurements\nDYNAMODB_ENDPOINT=http://{gateway}:{port}\n")
        routes = system.folder / "conf" / "routes.conf"
        routes.write_text(routes.read_text() + "topic sensors/#\n")
        table = make_table(f"http://{gateway}:{port}")
        with Client(look) as above:
            above.subscribe("sensors/#")
            system.compose("up", "-d", "--no-build", "broker", "dashboard", "dashboard-aws")
            system.wait_healthy()
            with Client(system.ports[0]) as c:
                c.publish("sensors/aws/1", b'{"temperature":21.5}', 1)
            assert above.wait_messages(1, 30)[0].topic == "sensors/aws/1"
        wait_until(lambda: table.scan()["Count"] == 1, 60, system.logs, 0.5)  # before the dashboard looks: it keeps the list of sensors
        assert [sensors(port) for port in system.ports[3:]] == [["aws"], ["aws"]]
        text = system.compose("run", "--rm", "check", check=False).stdout
        assert "is acknowledged" in text and "an item is written" in text and "it is read again" in text, text
    finally:
        dynalite.close()


def sensors(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/sensors", timeout=20) as answer:
        return [s["sensor"] for s in json.load(answer)]


def make_table(endpoint):
    import boto3
    there = boto3.resource("dynamodb", endpoint_url=endpoint, region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    return there.create_table(
        TableName="measurements", BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "sensor", "KeyType": "HASH"}, {"AttributeName": "timestamp", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in ("sensor", "timestamp")])


def test_health_says_what_is_wrong(engine, system):
    """Without its broker websensor is unhealthy, and is healthy again with it."""
    system.up()
    system.compose("stop", "-t", "5", "broker")
    wait_until(lambda: system.health()["websensor"] == "unhealthy", 90, system.health, 1)
    system.compose("start", "broker")
    system.wait_healthy()
