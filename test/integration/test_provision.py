"""certs/provision and certs/check with the real AWS CLI: against a stand-in for IoT, IAM and STS, dynalite for the table, a
mosquitto for IoT Core, and the credential server.

A call of the AWS CLI takes 0.7 s of CPU. So the life of one gateway is a chain of fixtures, each a step that is made once:
planned (dry run) - made (interrupted, then completed) - again - rotated - kept (a rotation that fails) - rerouted - removed. A
test that is run alone makes the steps before its own.
"""

import json
import os
import pathlib
import re
import stat
import subprocess
import sys
import types

import pytest
from harness.broker import FarSide
from harness.dynamodb import CredentialServer, Dynamo, dynalite_is_there, environment
from harness.process import TOP

sys.path.insert(0, str(TOP / "test" / "fakes"))
import aws_control  # noqa: E402
import aws_identity  # noqa: E402

AWS = pathlib.Path("/usr/bin/aws")  # Debian's: version 2
pytestmark = [pytest.mark.skipif(not AWS.exists(), reason="awscli is not installed"),
              pytest.mark.skipif(not dynalite_is_there(), reason="no dynalite: npm --prefix test ci")]

ROUTES = ["--topic", "sensors/# out 1", "--topic", "commands/+/set in 1 \"\" gateways/gw/", "--topic", "a/b both 1", "--topic", "c 0"]
DATA = ["--table", "measurements", "--ttl", "30d", "--store", "sensors/+/#", "--role-alias", "gateway", "--dashboard"]
# The stand-in fails at AttachPolicy, and does not know the new role at first.
INTERRUPTED = ["dynamodb:CreateTable", "dynamodb:UpdateTimeToLive", "iot:CreateThing", "iot:CreateCertificateFromCsr", "iot:CreatePolicy",
               "iot:AttachPolicy"]
COMPLETED = ["iot:AttachPolicy", "iot:AttachThingPrincipal", "iam:CreateRole", "iam:PutRolePolicy", "iot:CreateRoleAlias",
             "iot:CreateRoleAlias"]
ARN = f"arn:aws:iot:{aws_control.REGION}:{aws_control.ACCOUNT}"


class Setting:
    def __init__(self, folder, pki, server_id):
        self.directory = folder / "mosquitto-aws"
        self.server_id = server_id
        self.far_side = FarSide(folder, server_id).start()
        self.dynamo = Dynamo()
        self.credentials = CredentialServer(server_id)
        self.control = aws_control.Control(pki.ca, pki.directory / "ca.key", self.dynamo.backend,
                                           f"localhost:{self.far_side.tls_port}", f"localhost:{self.credentials.https}")
        self.account = self.control.account
        env = {**os.environ, **environment(aws_identity.long_lived("TESTER")), "MQA_AWS_ENDPOINT": self.control.url,
               "PATH": f"{AWS.parent}:{os.environ['PATH']}", "AWS_REGION": aws_control.REGION, "HOME": str(folder),
               "MQA_DYNAMODB_CAFILE": str(server_id.ca), "AWS_MAX_ATTEMPTS": "1"}
        self.env = {name: value for name, value in env.items() if value}

    def run(self, *words, ok=True):
        """Output of certs/provision; the calls of this run alone are in control.calls."""
        self.control.forget()
        argv = [TOP / "certs" / "provision", "-d", self.directory, "--owner", "", "--cafile", self.server_id.ca, *words]
        p = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=240, env=self.env)
        assert (p.returncode == 0) == ok, p.stdout + p.stderr
        return p.stdout + p.stderr

    def step(self, *words, ok=True):
        """Output and changes of a run."""
        text = self.run(*words, ok=ok)
        return types.SimpleNamespace(text=text, changes=self.control.changes())

    def check(self, *words, ok=True, signed=False, **change):
        """Output of certs/check for the configuration as it was written, with these options changed. signed: DynamoDB is the proxy
        that checks signatures; it knows no deletion, so that the last step fails there."""
        change["dynamodb_endpoint"] = f"http://localhost:{self.dynamo.port if signed else self.dynamo.backend}"
        text = self.file("conf").read_text()
        for name, value in change.items():
            text = re.sub(f"^{name} .*\n", "", text, flags=re.M) + f"{name} {value}\n"
        conf = self.directory.parent / "check.conf"
        conf.write_text(text)
        p = subprocess.run([TOP / "certs" / "check", *words, conf], capture_output=True, text=True, timeout=120, env=self.env)
        assert (p.returncode == 0) == ok, p.stdout + p.stderr
        return p.stdout

    def file(self, end):
        return self.directory / f"gw.{end}"

    def files(self):
        return {p.name: p.read_bytes() for p in self.directory.iterdir()}

    def policy(self):
        versions = self.account.policies["mosquitto-aws-gw"]
        document = json.loads(versions[max(versions)])
        return {s["Action"] if s["Effect"] == "Allow" else "not": s["Resource"] for s in document["Statement"]}

    def close(self):
        self.control.close()
        self.credentials.close()
        self.dynamo.close()
        self.far_side.stop()


@pytest.fixture(scope="module")
def setting(tmp_path_factory, pki, server_id):
    s = Setting(tmp_path_factory.mktemp("provision"), pki, server_id)
    yield s
    s.close()


# ---- a gateway's life


@pytest.fixture(scope="module")
def planned(setting):
    step = setting.step("gw", "--dry-run", *ROUTES, *DATA)
    step.directory = setting.directory.exists()
    return step


def test_dry_run_changes_nothing_and_shows_each_call(planned):
    assert planned.changes == [] and not planned.directory
    for words in ("iot create-thing --thing-name gw", "iot create-certificate-from-csr", "iot create-policy", "iot attach-policy",
                  "iam create-role", "iam put-role-policy", "iot create-role-alias", "dynamodb create-table",
                  "dynamodb update-time-to-live"):
        assert f"would: aws {words}" in planned.text, planned.text
    assert "look: aws sts get-caller-identity" in planned.text


def test_dry_run_shows_the_documents(setting, planned, made):
    """What it shows is what is made then; it can be handed to the calls as it is printed."""
    def shown(name):
        text = planned.text[planned.text.index(f"{name}:\n") + len(name) + 2:]
        return json.JSONDecoder().raw_decode(text.lstrip())[0]
    documents = setting.account.policies["mosquitto-aws-gw"]
    role = setting.account.roles["mosquitto-aws-gw"]
    assert shown("policy.json") == json.loads(documents[min(documents)])
    assert shown("trust.json") == role["trust"] and shown("rights.json") == json.loads(role["policies"]["measurements"])
    assert "file://policy.json" in planned.text and f"would: write {setting.file('conf')}" in planned.text
    assert all(f"    {line}" in planned.text for line in made.conf.splitlines())


@pytest.fixture(scope="module")
def made(setting, planned):
    """Fails once on the way and is run again; the role is not known to IoT at the first try."""
    setting.control.fail["iot:AttachPolicy"] = (500, "InternalFailureException", 1)
    first = setting.step("gw", *ROUTES, *DATA, ok=False)
    setting.control.fail["iot:CreateRoleAlias"] = (400, "InvalidRequestException", 1)
    second = setting.step("gw", *ROUTES, *DATA)
    setting.control.fail.clear()
    return types.SimpleNamespace(first=first, second=second, calls=json.dumps(setting.control.calls), arn=setting.file("arn").read_text(),
                                 conf=setting.file("conf").read_text())


def test_goes_on_where_it_was_interrupted(made):
    assert made.first.changes == INTERRUPTED, made.first.text
    assert made.second.changes == COMPLETED, made.second.text


def test_what_is_made(setting, made):
    assert setting.policy() == {
        "iot:Connect": [f"{ARN}:client/gw-check", f"{ARN}:client/gw"],
        "iot:Publish": [f"{ARN}:topic/mosquitto-aws/gw/check", f"{ARN}:topic/sensors", f"{ARN}:topic/sensors/*", f"{ARN}:topic/a/b",
                        f"{ARN}:topic/c"],
        "iot:RetainPublish": [f"{ARN}:topic/sensors", f"{ARN}:topic/sensors/*", f"{ARN}:topic/a/b",
                        f"{ARN}:topic/c"],
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
    assert setting.account.ttl == {"measurements": "ttl"} and "gateway" in setting.account.aliases
    assert stat.S_IMODE(setting.file("key").stat().st_mode) == 0o600
    assert "PRIVATE KEY" not in made.calls


def test_check_proves_it(setting, made):
    text = setting.check()
    assert "is acknowledged" in text and "is written" in text and "is read again" in text and "FAILED" not in text
    assert setting.dynamo.items("measurements") == []
    text = setting.check(ok=False, signed=True)
    assert "is written" in text and "is read again" in text


def test_check_says_cause_and_cure(setting, made, tmp_path):
    text = setting.check(ok=False, dynamodb_table="nowhere")
    assert "there is no table nowhere" in text and "1 failed" in text
    setting.credentials.control(status={"role_alias": 403})
    assert "iot:AssumeRoleWithCertificate" in setting.check(ok=False)
    setting.credentials.control(status={})
    key = tmp_path / "other.key"
    key.write_bytes(setting.file("key").read_bytes())
    key.chmod(0o644)
    assert "others may read it" in setting.check("--only", "identity", ok=False, iot_keyfile=key)
    subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key], check=True,
                   capture_output=True)
    assert "is not the key of" in setting.check("--only", "identity", ok=False, iot_keyfile=key)


def test_the_plugin_takes_what_is_written(setting, made, broker):
    b = broker(options=[f"config_file {setting.file('conf')}"])
    with setting.far_side.recorder("#") as seen:
        b.publish("sensors/1", b"21.5")
        assert "sensors/1" in [m.topic for m in seen.wait_messages(1, 20)]


@pytest.fixture(scope="module")
def again(setting, made):
    before = setting.files()
    step = setting.step("-d", os.path.relpath(setting.directory), "gw", *ROUTES, *DATA)  # what is written has whole paths
    step.same = setting.files() == before
    return step


def test_a_second_run_changes_nothing(again):
    assert "nothing to change" in again.text and again.changes == [] and again.same


@pytest.fixture(scope="module")
def rotated(setting, again):
    before = setting.files()
    mark = setting.directory.parent / "reloaded"
    step = setting.step("--rotate", "gw", "--reload", f"touch '{mark}'")
    step.before, step.reloaded = before, mark.exists()
    return step


def test_rotate(setting, rotated):
    assert rotated.reloaded and "new certificate" in rotated.text
    new = setting.file("arn").read_text().strip()
    assert new != rotated.before["gw.arn"].decode().strip() and setting.file("key").read_bytes() != rotated.before["gw.key"]
    assert setting.account.certificates == {new.split("/")[-1]: "ACTIVE"}
    assert setting.account.things["gw"] == [new] and setting.account.attached[new] == ["mosquitto-aws-gw"]
    setting.check("--only", "identity")


@pytest.fixture(scope="module")
def kept(setting, rotated):
    conf = setting.file("conf")
    good = conf.read_text()
    before = {end: setting.file(end).read_bytes() for end in ("key", "crt", "arn")}
    conf.write_text(good.replace("iot_endpoint localhost:", "iot_endpoint nowhere.invalid:"))
    step = setting.step("--rotate", "gw", "--reload", "true", ok=False)
    conf.write_text(good)
    step.same = {end: setting.file(end).read_bytes() for end in before} == before
    return step


def test_rotate_goes_back_when_the_new_one_does_not_work(setting, kept):
    assert "the old one is in use again" in kept.text and "cure:" in kept.text and kept.same
    assert list(setting.account.certificates.values()) == ["ACTIVE"]


@pytest.fixture(scope="module")
def rerouted(setting, kept):
    """Twice, so that an old version of the policy has to go."""
    setting.step("gw", "--topic", "sensors/6")
    return setting.step("gw", "--topic", "#", "--connections", "3")


def test_other_routes_are_a_new_version_of_the_policy(setting, rerouted):
    assert rerouted.changes == ["iot:DeletePolicyVersion", "iot:CreatePolicyVersion"]
    assert len(setting.account.policies["mosquitto-aws-gw"]) == 2 and len(setting.account.certificates) == 1


def test_several_connections_several_client_ids(setting, rerouted):
    assert setting.policy()["iot:Connect"] == [f"{ARN}:client/{name}" for name in ("gw-check", "gw-1", "gw-2", "gw-3")]
    assert setting.policy()["iot:Publish"] == [f"{ARN}:topic/mosquitto-aws/gw/check", f"{ARN}:topic/*"]
    assert setting.policy()["not"] == [f"{ARN}:topic/$aws/*"]  # '#' is no route to the shadows of other things
    assert "iot_connections 3\n" in setting.file("conf").read_text()


@pytest.fixture(scope="module")
def removed(setting, rerouted):
    return setting.step("--remove", "gw", "--role-alias", "gateway", "--table", "measurements", "--delete-table")


def test_remove(setting, removed):
    assert "is removed" in removed.text
    a = setting.account
    assert not (a.things or a.certificates or a.policies or a.roles or a.aliases)
    assert setting.dynamo.client.list_tables()["TableNames"] == [] and not setting.file("key").exists()
    step = setting.step("--remove", "gw", "--role-alias", "gateway")
    assert "nothing to remove" in step.text and step.changes == []


# ---- what does not work


def test_nothing_but_topics_needs_no_role(setting, removed):
    """And a call that is refused ends it, with the cure."""
    setting.control.fail["iot:CreateThing"] = (403, "AccessDeniedException", 1)
    text = setting.run("gw", "--topic", "sensors/#", ok=False)
    assert re.search("user/tester.*lack the right", text), text
    assert not [call for call in setting.control.calls if call[0] in ("iam", "dynamodb")]


@pytest.mark.parametrize("error, words", [
    ((403, "ExpiredToken", 1), "log in again"), ((403, "InvalidClientTokenId", 1), "does not accept your credentials"),
])
def test_clear_errors(setting, removed, error, words):
    setting.control.fail["sts:GetCallerIdentity"] = error
    assert words in setting.run("gw", "--topic", "sensors/#", ok=False)


def test_what_exists_already_is_not_taken_over(setting, removed):
    setting.account.things["other"] = ["arn:aws:iot:eu-central-1:123456789012:cert/other"]
    step = setting.step("other", "--topic", "sensors/#", ok=False)
    assert "--adopt" in step.text and step.changes == []
    setting.dynamo.client.create_table(
        TableName="odd", BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}])
    step = setting.step("gw2", "--table", "odd", ok=False)
    assert "another key" in step.text and step.changes == []


@pytest.mark.parametrize("words, what", [
    ([], "usage"), (["a b", "--topic", "x"], "NAME takes"), (["gw"], "nothing to do"), (["gw", "--topic"], "needs a value"),
    (["gw", "--topic", "x/*"], "not possible"), (["gw", "--topic", "${iot:ClientId}/x"], "not possible"),
    (["gw", "--topic", "x sideways"], "sideways"), (["gw", "--topic", "x out 5"], "QoS '5'"),
    (["gw", "--topic", "x 1 out"], "before QoS"), (["gw", "--topic", "x 1 l r y"], "more words"),
    (["gw", "--topic", "x", "--ttl", "3d"], "need --table"),
    (["gw", "--topic", "x", "--connections", "many"], "--connections"), (["--frobnicate"], "unknown option"),
    (["gw", "--topic", "x/#/y"], "no topic filter"), (["gw", "--table", "abc", "--store", "x+/y"], "no topic filter"),
    (["gw", "--table", "ab"], "3 characters"), (["gw", "--table", "abc", "--ttl", "30"], "--ttl takes"),
    (["gw", "--topic", "x", "--cafile", "/nope"], "cannot read /nope"), (["gw", "--topic", "x", "--owner", "nobody-at-all"], "nobody-at-all"),
])
def test_wrong_words(setting, words, what):
    assert what in setting.run(*words, ok=False)
    assert setting.control.changes() == []


def test_version_1_of_the_cli(tmp_path):
    """pip's awscli, for example, before Debian's in PATH. The directory that was made for the result does not stay."""
    aws = tmp_path / "aws"
    aws.write_text("#!/bin/sh\necho 'Unknown options: --no-cli-pager' >&2\nexit 252\n")
    aws.chmod(0o755)
    p = subprocess.run([TOP / "certs/provision", "--owner", "", "--region", "x", "--topic", "a", "-d", tmp_path / "new", "gw"], capture_output=True,
                       text=True, check=False, env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert not (tmp_path / "new").exists()
    assert p.returncode == 1 and f"{aws} is version 1" in p.stderr and "version 2 is needed" in p.stderr
