"""certs/provision and certs/check with the real AWS CLI: against a stand-in for IoT, IAM and STS, dynalite for the table, a
mosquitto for IoT Core, and the credential server."""

import json
import os
import pathlib
import stat
import subprocess
import sys

import pytest
from harness.dynamodb import CredentialServer, Dynamo, dynalite_is_there, environment
from harness.process import TOP

sys.path.insert(0, str(TOP / "test" / "fakes"))
import aws_control  # noqa: E402
import aws_identity  # noqa: E402

AWS = pathlib.Path("/usr/bin/aws")  # Debian's: version 2
pytestmark = [pytest.mark.skipif(not AWS.exists(), reason="awscli is not installed"),
              pytest.mark.skipif(not dynalite_is_there(), reason="no dynalite: npm --prefix test ci")]

ROUTES = ["--topic", "sensors/# out 1", "--topic", "commands/+/set in 1 \"\" gateways/gw/", "--topic", "a/b both 1"]
DATA = ["--table", "measurements", "--ttl", "30d", "--store", "sensors/+/#", "--role-alias", "gateway", "--dashboard"]
CREATED = ["iot:CreateThing", "iot:CreateCertificateFromCsr", "iot:CreatePolicy", "iot:AttachPolicy", "iot:AttachThingPrincipal",
           "iam:CreateRole", "iam:PutRolePolicy", "iot:CreateRoleAlias", "dynamodb:CreateTable", "dynamodb:UpdateTimeToLive"]
ARN = f"arn:aws:iot:{aws_control.REGION}:{aws_control.ACCOUNT}"


class Setting:
    def __init__(self, tmp_path, pki, server_id, far_side):
        self.directory = tmp_path / "mosquitto-aws"
        self.server_id = server_id
        self.far_side = far_side
        self.dynamo = Dynamo()
        self.credentials = CredentialServer(server_id)
        self.control = aws_control.Control(pki.ca, pki.directory / "ca.key", self.dynamo.backend,
                                           f"localhost:{far_side.tls_port}", f"localhost:{self.credentials.https}")
        self.account = self.control.account
        env = {**os.environ, **environment(aws_identity.long_lived("TESTER")), "MQA_AWS_ENDPOINT": self.control.url,
               "PATH": f"{AWS.parent}:{os.environ['PATH']}", "AWS_REGION": aws_control.REGION, "HOME": str(tmp_path),
               "MQA_DYNAMODB_CAFILE": str(server_id.ca)}
        self.env = {name: value for name, value in env.items() if value}

    def run(self, *words, ok=True, **env):
        argv = [TOP / "certs" / "provision", "-d", self.directory, "--owner", "", "--cafile", self.server_id.ca, *words]
        p = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=240, env={**self.env, **env})
        assert (p.returncode == 0) == ok, p.stdout + p.stderr
        return p.stdout + p.stderr

    def check(self, *words, ok=True, signed=False):
        """signed: DynamoDB is the proxy that checks signatures; it knows no deletion, so that the last step fails there."""
        port = self.dynamo.port if signed else self.dynamo.backend
        conf = self.directory / "check.conf"
        conf.write_text((self.directory / "gw.conf").read_text() + f"dynamodb_endpoint http://localhost:{port}\n")
        p = subprocess.run([TOP / "certs" / "check", *words, conf], capture_output=True, text=True, timeout=120, env=self.env)
        assert (p.returncode == 0) == ok, p.stdout + p.stderr
        return p.stdout

    def file(self, end):
        return self.directory / f"gw.{end}"

    def close(self):
        self.control.close()
        self.credentials.close()
        self.dynamo.close()


@pytest.fixture
def setting(tmp_path, pki, server_id, far_side):
    s = Setting(tmp_path, pki, server_id, far_side)
    yield s
    s.close()


def policy(setting):
    versions = setting.account.policies["mosquitto-aws-gw"]
    document = json.loads(versions[max(versions)])
    return {s["Action"]: s["Resource"] for s in document["Statement"]}


def test_from_nothing_to_checked_and_again_and_gone(setting):
    text = setting.run("gw", *ROUTES, *DATA)
    assert setting.control.changes() == CREATED, text
    assert policy(setting) == {
        "iot:Connect": [f"{ARN}:client/gw-check", f"{ARN}:client/gw"],
        "iot:Publish": [f"{ARN}:topic/mosquitto-aws/gw/check", f"{ARN}:topic/sensors", f"{ARN}:topic/sensors/*", f"{ARN}:topic/a/b"],
        "iot:RetainPublish": [f"{ARN}:topic/sensors", f"{ARN}:topic/sensors/*", f"{ARN}:topic/a/b"],
        "iot:Subscribe": [f"{ARN}:topicfilter/gateways/gw/commands/+/set", f"{ARN}:topicfilter/a/b"],
        "iot:Receive": [f"{ARN}:topic/gateways/gw/commands/*/set", f"{ARN}:topic/a/b"],
        "iot:AssumeRoleWithCertificate": [f"{ARN}:rolealias/gateway"],
    }
    role = setting.account.roles["mosquitto-aws-gw"]
    assert role["trust"]["Statement"][0]["Principal"] == {"Service": "credentials.iot.amazonaws.com"}
    assert json.loads(role["policies"]["measurements"])["Statement"] == [{
        "Effect": "Allow", "Action": ["dynamodb:BatchWriteItem", "dynamodb:Query", "dynamodb:Scan"],
        "Resource": [f"arn:aws:dynamodb:{aws_control.REGION}:{aws_control.ACCOUNT}:table/measurements"]}]
    table = setting.dynamo.client.describe_table(TableName="measurements")["Table"]
    assert [(k["AttributeName"], k["KeyType"]) for k in table["KeySchema"]] == [("sensor", "HASH"), ("timestamp", "RANGE")]
    assert setting.account.ttl == {"measurements": "ttl"}
    assert stat.S_IMODE(setting.file("key").stat().st_mode) == 0o600
    assert "PRIVATE KEY" not in json.dumps(setting.control.calls)

    before = {p.name: p.read_bytes() for p in setting.directory.iterdir()}
    setting.control.forget()
    assert "nothing to change" in setting.run("gw", *ROUTES, *DATA)
    assert setting.control.changes() == []
    assert {p.name: p.read_bytes() for p in setting.directory.iterdir()} == before

    text = setting.check()
    assert "is acknowledged" in text and "is written" in text and "is read again" in text and "FAILED" not in text
    assert setting.dynamo.items("measurements") == []
    text = setting.check(ok=False, signed=True)
    assert "is written" in text and "is read again" in text

    setting.control.forget()
    assert "is removed" in setting.run("--remove", "gw", "--role-alias", "gateway", "--delete-table")
    a = setting.account
    assert not (a.things or a.certificates or a.policies or a.roles or a.aliases)
    assert setting.dynamo.client.list_tables()["TableNames"] == [] and not setting.file("key").exists()
    setting.control.forget()
    assert "nothing to remove" in setting.run("--remove", "gw", "--role-alias", "gateway")
    assert setting.control.changes() == []


def test_the_plugin_takes_what_is_written(setting, broker):
    setting.run("gw", *ROUTES)
    assert "iam:CreateRole" not in setting.control.changes()
    b = broker(options=[f"config_file {setting.file('conf')}"])
    with setting.far_side.recorder("#") as seen:
        b.publish("sensors/1", b"21.5")
        assert seen.wait_messages(1, 20)[0].topic == "sensors/1"


def test_dry_run_changes_nothing_and_shows_each_call(setting):
    text = setting.run("gw", "--dry-run", *ROUTES, *DATA)
    assert setting.control.changes() == [] and not setting.directory.exists()
    for words in ("iot create-thing --thing-name gw", "iot create-certificate-from-csr", "iot create-policy", "iot attach-policy",
                  "iam create-role", "iam put-role-policy", "iot create-role-alias", "dynamodb create-table",
                  "dynamodb update-time-to-live"):
        assert f"would: aws {words}" in text, text
    assert "look: aws sts get-caller-identity" in text


def test_several_connections_several_client_ids(setting):
    setting.run("gw", "--topic", "#", "--connections", "3")
    assert policy(setting)["iot:Connect"] == [f"{ARN}:client/{name}" for name in ("gw-check", "gw-1", "gw-2", "gw-3")]
    assert policy(setting)["iot:Publish"] == [f"{ARN}:topic/mosquitto-aws/gw/check", f"{ARN}:topic/*"]
    assert "iot_connections 3\n" in setting.file("conf").read_text()


def test_other_routes_are_a_new_version_of_the_policy(setting):
    for n in (4, 5, 6):
        setting.run("gw", "--topic", f"sensors/{n}")
    assert f"{ARN}:topic/sensors/6" in policy(setting)["iot:Publish"]
    assert len(setting.account.policies["mosquitto-aws-gw"]) == 2 and len(setting.account.certificates) == 1


def test_rotate(setting):
    setting.run("gw", "--topic", "sensors/#")
    old = setting.file("arn").read_text().strip()
    key = setting.file("key").read_bytes()
    mark = setting.directory / "reloaded"
    text = setting.run("--rotate", "gw", "--reload", f"touch '{mark}'")
    assert mark.exists() and "new certificate" in text
    new = setting.file("arn").read_text().strip()
    assert new != old and setting.file("key").read_bytes() != key
    assert setting.account.certificates == {new.split("/")[-1]: "ACTIVE"}
    assert setting.account.things["gw"] == [new] and setting.account.attached[new] == ["mosquitto-aws-gw"]
    setting.check("--only", "identity")


def test_rotate_goes_back_when_the_new_one_does_not_work(setting):
    setting.run("gw", "--topic", "sensors/#")
    before = {end: setting.file(end).read_bytes() for end in ("key", "crt", "arn")}
    conf = setting.file("conf")
    conf.write_text(conf.read_text().replace("localhost:", "nowhere.invalid:"))
    text = setting.run("--rotate", "gw", "--reload", "true", ok=False)
    assert "the old one is in use again" in text and "cure:" in text
    assert {end: setting.file(end).read_bytes() for end in before} == before
    assert list(setting.account.certificates.values()) == ["ACTIVE"]


def test_goes_on_where_it_was_interrupted(setting):
    setting.control.fail["iot:AttachPolicy"] = (500, "InternalFailureException")
    setting.run("gw", "--topic", "sensors/#", ok=False, AWS_MAX_ATTEMPTS="1")
    setting.control.fail.clear()
    setting.control.forget()
    setting.run("gw", "--topic", "sensors/#")
    assert setting.control.changes() == ["iot:AttachPolicy", "iot:AttachThingPrincipal"]


def test_a_role_that_aws_does_not_know_yet(setting):
    setting.control.fail["iot:CreateRoleAlias"] = (400, "InvalidRequestException", 2)
    setting.run("gw", "--table", "measurements")
    assert "mosquitto-aws-gw" in setting.account.aliases


@pytest.mark.parametrize("call, error, words", [
    ("iot:CreateThing", (403, "AccessDeniedException"), "user/tester.*lack the right"),
    ("sts:GetCallerIdentity", (403, "ExpiredToken"), "log in again"),
    ("sts:GetCallerIdentity", (403, "InvalidClientTokenId"), "does not accept your credentials"),
])
def test_clear_errors(setting, call, error, words):
    import re
    setting.control.fail[call] = error
    text = setting.run("gw", "--topic", "sensors/#", ok=False, AWS_MAX_ATTEMPTS="1")
    assert re.search(words, text), text


def test_what_exists_already_is_not_taken_over(setting):
    setting.account.things["gw"] = ["arn:aws:iot:eu-central-1:123456789012:cert/other"]
    text = setting.run("gw", "--topic", "sensors/#", ok=False)
    assert "--adopt" in text and setting.control.changes() == []
    setting.dynamo.client.create_table(
        TableName="odd", BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}])
    assert "another key" in setting.run("gw2", "--table", "odd", ok=False)


@pytest.mark.parametrize("words, what", [
    ([], "usage"), (["a b", "--topic", "x"], "NAME takes"), (["gw"], "nothing to do"), (["gw", "--topic"], "needs a value"),
    (["gw", "--topic", "x/*"], "not possible"), (["gw", "--topic", "${iot:ClientId}/x"], "not possible"),
    (["gw", "--topic", "x sideways"], "sideways"), (["gw", "--topic", "x out 5"], "QoS '5'"),
    (["gw", "--topic", "x", "--ttl", "3d"], "need --table"),
    (["gw", "--topic", "x", "--connections", "many"], "--connections"), (["--frobnicate"], "unknown option"),
])
def test_wrong_words(setting, words, what):
    assert what in setting.run(*words, ok=False)
    assert setting.control.changes() == []


def test_check_says_cause_and_cure(setting):
    setting.run("gw", "--topic", "sensors/#", "--table", "measurements", "--role-alias", "gateway")
    setting.account.roles.clear()
    setting.dynamo.client.delete_table(TableName="measurements")
    text = setting.check(ok=False)
    assert "there is no table measurements" in text and "1 failed" in text
    setting.credentials.control(status={"role_alias": 403})
    assert "iot:AssumeRoleWithCertificate" in setting.check(ok=False)
    setting.file("key").chmod(0o644)
    assert "others may read it" in setting.check("--only", "identity", ok=False)
    other = setting.directory / "other.key"
    subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", other], check=True,
                   capture_output=True)
    os.replace(other, setting.file("key"))
    assert "is not the key of" in setting.check("--only", "identity", ok=False)
