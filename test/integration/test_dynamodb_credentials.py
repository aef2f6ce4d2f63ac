"""Credentials for DynamoDB: each source, the order among them, renewal under load, TLS, and what is said when something is wrong."""

import os
import time

import pytest
from harness import dynamodb
from harness.load import Load
from harness.process import wait_until

pytestmark = pytest.mark.skipif(not dynamodb.dynalite_is_there(), reason="no dynalite: npm ci in test/")


@pytest.fixture
def dynamo(started):
    d = dynamodb.Dynamo()
    started.others.append(d)
    d.create_table()
    return d


@pytest.fixture
def provider(started, server_id, tmp_path):
    (tmp_path / "container-token").write_text("token-in-a-file\n")
    p = dynamodb.CredentialServer(server_id, tmp_path / "container-token")
    started.others.append(p)
    return p


@pytest.fixture
def gateway(broker, dynamo):
    """gateway(*options, env={}): a broker that stores in `dynamo`, with no credentials but those of `env`."""
    def make(*options, env=None, start=True, **more):
        b = broker(options=[*dynamo.options(), "store sensors/+", *options], start=False, verbose=False, **more)
        b.process.env.update(dynamodb.environment(**(env or {})))
        return b.start() if start else b
    return make


def role_alias(provider, client, alias="gateway"):
    return [f"aws_role_alias {alias}", f"aws_credentials_endpoint localhost:{provider.https}", f"iot_certfile {client.cert}",
            f"iot_keyfile {client.key}", f"iot_cafile {client.ca}"]


def stores(b, dynamo, source, temporary=True):
    """A message arrives, signed with credentials of this source."""
    before = dynamo.count()
    b.publish("sensors/one", b"1")
    dynamo.wait_items(before + 1)
    assert f"source={source} " in b.wait_log("credentials.ready")
    assert dynamo.control()["access_keys"][-1].startswith("ASIA" if temporary else "AKIA")


def test_role_alias(gateway, dynamo, provider, client_id):
    b = gateway(*role_alias(provider, client_id))
    stores(b, dynamo, "iot-role-alias")
    assert provider.control()["seen"][0]["certificate"] == "gateway"
    assert not any("AKIA" in p.read_text(errors="replace") for p in b.directory.glob("*.conf"))


@pytest.mark.parametrize("alias, answer", [("forbidden", "status 403: Access Denied"), ("unknown", "status 404: Role alias does not exist")])
def test_role_alias_refused(gateway, dynamo, provider, client_id, alias, answer):
    b = gateway(*role_alias(provider, client_id, alias))
    line = b.wait_log("credentials.none")
    assert f"iot-role-alias: {answer}" in line and "environment: AWS_ACCESS_KEY_ID is not set" in line
    b.publish("sensors/one", b"1")
    b.wait_sys("dynamodb/state", "waiting")
    assert dynamo.count() == 0


def test_role_alias_of_another_authority(gateway, provider, client_id, tmp_path, started):
    """The provider's certificate must be signed by iot_cafile."""
    from harness.pki import Pki
    other = tmp_path / "other"
    other.mkdir()
    stranger = Pki(other).client("gateway")
    b = gateway(*role_alias(provider, client_id)[:-1], f"iot_cafile {stranger.ca}")
    assert "tls-verify" in b.wait_log("credentials.none")


def test_environment(gateway, dynamo):
    b = gateway(env=dynamodb.aws_identity.long_lived().environment())
    stores(b, dynamo, "environment", temporary=False)


def test_environment_with_token(gateway, dynamo):
    b = gateway(env=dynamodb.aws_identity.issue(3600).environment())
    stores(b, dynamo, "environment")


def test_files(gateway, dynamo, tmp_path):
    identity = dynamodb.aws_identity.long_lived("FILE")
    files = dynamodb.config_files(
        tmp_path, f"[default]\naws_access_key_id = WRONG\naws_secret_access_key = WRONG\n\n[work]\n"
                  f"aws_access_key_id = {identity.access_key}\naws_secret_access_key = {identity.secret_key}\n",
        "[profile work]\nregion = eu-central-1\n")
    b = gateway("aws_profile work", env=files, start=False)
    b.options.remove("aws_region eu-central-1")
    b.start()
    stores(b, dynamo, "shared-files", temporary=False)


def test_files_are_read_again(gateway, dynamo, tmp_path):
    """Keys in the file that AWS does not accept are looked up again, without a restart."""
    files = dynamodb.config_files(tmp_path, "[default]\naws_access_key_id = AKIAWRONG\naws_secret_access_key = wrong\n")
    b = gateway(env=files)
    b.publish("sensors/one", b"1")
    b.wait_log("dynamodb.(trouble|refused).*(Unrecognized|InvalidSignature)")
    identity = dynamodb.aws_identity.long_lived("RIGHT")
    dynamodb.config_files(tmp_path, f"[default]\naws_access_key_id = {identity.access_key}\naws_secret_access_key = {identity.secret_key}\n")
    dynamo.wait_items(1, timeout=40)


@pytest.mark.parametrize("files, text", [
    ({"config": "[default]\ncredential_process = /bin/true\n"}, "wants credential_process, which is not supported"),
    ({"config": "[default]\nrole_arn = arn\nsource_profile = x\n"}, "wants role_arn, which is not supported"),
    ({"credentials": "[default\n"}, "aws-credentials: line 1 is neither a section nor a setting"),
    ({"credentials": "[default]\naws_access_key_id = A\n"}, "no secret access key"),
])
def test_files_refused(gateway, tmp_path, files, text):
    b = gateway(env=dynamodb.config_files(tmp_path, **files))
    line = b.wait_log("credentials.none")
    assert text in line
    # a profile that names a way of its own must not be passed over for another identity
    assert ("container:" in line) == ("not supported" not in text)


def test_container(gateway, dynamo, provider, tmp_path):
    """The token comes from a file that may change."""
    provider.control(lifetime=6)
    b = gateway(env={"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{provider.http}/container",
                     "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": os.fspath(tmp_path / "container-token")})
    stores(b, dynamo, "container")
    (tmp_path / "container-token").write_text("another token")
    wait_until(lambda: provider.control()["counts"]["container"] >= 2, 10)
    assert "container_unauthorized" not in provider.control()["counts"]


@pytest.mark.parametrize("uri, text", [
    ("http://example.org/container", "neither https nor an address of this machine"),
    ("http://127.0.0.1:1/container", "unreachable"),
])
def test_container_refused(gateway, uri, text):
    b = gateway(env={"AWS_CONTAINER_CREDENTIALS_FULL_URI": uri})
    assert text in b.wait_log("credentials.none")


def test_instance_metadata(gateway, dynamo, provider):
    b = gateway(env={"AWS_EC2_METADATA_DISABLED": "", "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{provider.http}/"})
    stores(b, dynamo, "instance-metadata")
    counts = provider.control()["counts"]
    assert counts["imds_token"] == 1 and "imds_unauthorized" not in counts


def test_order(gateway, dynamo, provider, client_id, tmp_path):
    """Every source is there: the role alias comes first; when it does not answer, the next one is taken."""
    files = dynamodb.config_files(tmp_path, "[default]\naws_access_key_id = AKIAFILE\naws_secret_access_key = x\n")
    everything = {**files, **dynamodb.aws_identity.long_lived("ENVIRONMENT").environment(), "AWS_EC2_METADATA_DISABLED": "",
                  "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{provider.http}",
                  "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{provider.http}/container"}
    b = gateway(*role_alias(provider, client_id), env=everything)
    stores(b, dynamo, "iot-role-alias")
    b.stop()
    provider.control(status={"role_alias": 500})
    b.start()
    stores(b, dynamo, "environment", temporary=False)


def test_renewal_under_load(gateway, dynamo, provider, client_id, started, build, tmp_path):
    """Short-lived credentials are renewed again and again before they expire: AWS never sees an expired one."""
    provider.control(lifetime=9)
    b = gateway(*role_alias(provider, client_id))
    sent = Load(build, tmp_path, b.port, 6000, rate=300, connections=4, topic="sensors/%c")
    started.processes.append(sent.process)
    sent.process.start()
    sent.result()
    dynamo.wait_items(6000)
    b.wait_log("credentials.ready")
    shown = dynamo.control()
    assert len(shown["access_keys"]) >= 4  # renewed three times
    assert "ExpiredTokenException" not in shown["counts"] and not shown["refusals"]


def test_provider_fails_for_a_while(gateway, dynamo, provider, client_id):
    """Old credentials are used until they expire; then measurements wait; then all are stored."""
    provider.control(lifetime=7)
    b = gateway(*role_alias(provider, client_id))
    stores(b, dynamo, "iot-role-alias")
    provider.control(status={"role_alias": 503})
    line = b.wait_log("credentials.renewal_failed", 10)
    assert "status 503" in line
    b.publish("sensors/two", b"2")  # still good
    dynamo.wait_items(2, timeout=3)
    assert "iot-role-alias: status 503" in b.wait_log("credentials.none", 10)
    for i in range(100):
        b.publish("sensors/three", b"%d" % i)
    b.wait_sys("dynamodb/state", "waiting")
    assert dynamo.count() == 2
    provider.control(status={"role_alias": 200})
    dynamo.wait_items(102, timeout=40)
    assert "ExpiredTokenException" not in dynamo.control()["counts"]


def test_expired_at_aws(gateway, dynamo, provider, client_id):
    """AWS says that a token has expired before its time: new ones are fetched at once."""
    b = gateway(*role_alias(provider, client_id))
    stores(b, dynamo, "iot-role-alias")
    time.sleep(0.1)
    dynamo.control(revoke=True)
    for i in range(50):
        b.publish("sensors/two", b"%d" % i)
    dynamo.wait_items(51)
    assert len(dynamo.control()["access_keys"]) == 2


def test_wrong_environment_is_told(gateway, dynamo):
    """Keys in the environment that AWS does not know can only be changed by somebody: said once, everything kept."""
    b = gateway(env={"AWS_ACCESS_KEY_ID": "AKIDNOBODY", "AWS_SECRET_ACCESS_KEY": "x"})
    for i in range(30):
        b.publish("sensors/one", b"%d" % i)
    line = b.wait_log("dynamodb.refused")
    assert "type=UnrecognizedClientException" in line
    b.wait_sys("dynamodb/state", "failed")
    assert len(b.process.lines("dynamodb.refused")) == 1 and not b.spool.rejected()


def test_https(broker, started, server_id):
    """DynamoDB over TLS: trusted by AWS_CA_BUNDLE; without it everything waits and the reason is told."""
    d = dynamodb.Dynamo(tls=server_id)
    started.others.append(d)
    d.create_table()
    b = broker(options=[*d.options(), "store sensors/+"], start=False)
    identity = dynamodb.aws_identity.issue(3600)
    b.process.env.update(dynamodb.environment(identity))
    b.start()
    b.publish("sensors/one", b"1")
    assert "type=tls-verify" in b.wait_log("dynamodb.refused")
    b.stop()
    b.process.env.update(dynamodb.environment(identity, AWS_CA_BUNDLE=os.fspath(server_id.ca)))
    b.start()
    d.wait_items(1)


@pytest.mark.parametrize("change, text", [
    ({"aws_region": []}, "option aws_region: not set"),
    ({"aws_region": ["Frankfurt!"]}, "aws_region"),
    ({"dynamodb_endpoint": ["localhost:8000"]}, "option dynamodb_endpoint: "),
    ({"dynamodb_endpoint": ["http://localhost:8000/path"]}, "option dynamodb_endpoint: "),
    ({"dynamodb_sensor_key": ["message"]}, "option dynamodb_sensor_key: "),
    ({"dynamodb_time_key": ["sensor"]}, "option dynamodb_time_key: "),
    ({"aws_role_alias": ["a/b"], "aws_credentials_endpoint": ["localhost"], "iot_certfile": ["{cert}"], "iot_keyfile": ["{key}"]},
     "option aws_role_alias: "),
    ({"aws_role_alias": ["a"], "aws_credentials_endpoint": ["https://localhost"], "iot_certfile": ["{cert}"], "iot_keyfile": ["{key}"]},
     "option aws_credentials_endpoint: "),
])
def test_mistakes_end_the_start(gateway, client_id, change, text):
    b = gateway(start=False)
    for name, values in change.items():
        b.set_option(name, *[v.format(cert=client_id.cert, key=client_id.key) for v in values])
    code, output = b.start_refused()
    assert code != 0 and text in output, output


def test_new_certificate_on_sighup(gateway, dynamo, provider, client_id, pki, tmp_path):
    """The device's certificate is renewed in place: the next credentials are asked for with the new one."""
    import shutil
    for kind, path in (("cert", client_id.cert), ("key", client_id.key)):
        shutil.copy(path, tmp_path / f"gateway.{kind}")
    provider.control(lifetime=3600)
    options = [o for o in role_alias(provider, client_id) if not o.startswith(("iot_certfile", "iot_keyfile"))]
    b = gateway(*options, f"iot_certfile {tmp_path}/gateway.cert", f"iot_keyfile {tmp_path}/gateway.key")
    stores(b, dynamo, "iot-role-alias")
    new = pki.client("gateway-2")
    shutil.copy(new.cert, tmp_path / "gateway.cert")
    shutil.copy(new.key, tmp_path / "gateway.key")
    b.reload()
    wait_until(lambda: provider.control()["seen"][-1]["certificate"] == "gateway-2", 10)
    b.publish("sensors/two", b"2")
    dynamo.wait_items(2)
    (tmp_path / "gateway.key").write_text("no key")
    b.reload()
    b.wait_log("dynamodb.reload-kept|config.kept")
    b.publish("sensors/three", b"3")
    dynamo.wait_items(3)
