"""The stand-ins for DynamoDB and the sources of credentials are right themselves: boto3 as the judge."""

import ssl
import urllib.error
import urllib.request

import pytest
from botocore.exceptions import ClientError
from harness import dynamodb

pytestmark = pytest.mark.skipif(not dynamodb.dynalite_is_there(), reason="no dynalite: npm ci in test/")
identities = dynamodb.aws_identity


@pytest.fixture(scope="module")
def dynamo():
    d = dynamodb.Dynamo()
    d.create_table("t-1")
    yield d
    d.close()


@pytest.fixture(autouse=True)
def reset(dynamo):
    dynamo.control(rules=[], skew=0, clear=True)


def put(client, times, extra=None, sensor="x"):
    requests = [{"PutRequest": {"Item": {"sensor": {"S": sensor}, "timestamp": {"S": str(t)}, **(extra or {})}}} for t in times]
    return client.batch_write_item(RequestItems={"t-1": requests})


def refused(client, *args, **kwargs):
    with pytest.raises(ClientError) as e:
        put(client, *args, **kwargs)
    return e.value.response["Error"]["Code"], e.value.response["Error"]["Message"]


def test_signatures(dynamo):
    for identity in (identities.long_lived(), identities.issue(60)):
        put(dynamo.boto3_client(dynamo.port, identity), [1])
    wrong = identities.issue(60)
    wrong.secret_key = "wrong"
    assert refused(dynamo.boto3_client(dynamo.port, wrong), [1])[0] == "InvalidSignatureException"
    wrong = identities.issue(60)
    wrong.token = "wrong"
    assert refused(dynamo.boto3_client(dynamo.port, wrong), [1])[0] == "UnrecognizedClientException"
    assert refused(dynamo.boto3_client(dynamo.port, identities.issue(-5)), [1])[0] == "ExpiredTokenException"


def test_clock_and_revocation(dynamo):
    client = dynamo.boto3_client(dynamo.port, identities.issue(60))
    dynamo.control(skew=3600)
    assert "Signature expired" in refused(client, [1])[1]
    dynamo.control(skew=-3600)
    assert "not yet current" in refused(client, [1])[1]
    dynamo.control(skew=200)
    put(client, [1])
    dynamo.control(skew=0, revoke=True)
    assert refused(client, [1])[0] == "ExpiredTokenException"
    put(dynamo.boto3_client(dynamo.port, identities.issue(60)), [1])


def nested(levels):
    value = {"S": "leaf"}
    for _ in range(levels - 1):
        value = {"M": {"n": value}}
    return value


@pytest.mark.parametrize("times, extra, text", [
    ([1, 1], None, "duplicates"),
    (range(26), None, "less than or equal to 25"),
    ([1], {"v": {"N": "1e126"}}, "overflow"),
    ([1], {"v": {"N": "1e-131"}}, "underflow"),
    ([1], {"v": {"N": "9" * 39}}, "38 significant digits"),
    ([1], {"v": {"S": "x" * 409600}}, "maximum allowed size"),
    ([1], {"v": {"S": "ä" * 205000}}, "maximum allowed size"),
    ([1], {"v": nested(33)}, "Nesting Levels"),
])
def test_limits(dynamo, times, extra, text):
    client = dynamo.boto3_client(dynamo.port, identities.long_lived())
    code, message = refused(client, times, extra)
    assert code == "ValidationException" and text in message
    put(client, range(25), {"v": nested(32)})


@pytest.mark.parametrize("sensor, text", [("", "empty string"), ("k" * 2049, "2048 bytes")])
def test_key_limits(dynamo, sensor, text):
    code, message = refused(dynamo.boto3_client(dynamo.port, identities.long_lived()), [1], sensor=sensor)
    assert code == "ValidationException" and text in message


def test_faults(dynamo):
    client = dynamo.boto3_client(dynamo.port, identities.long_lived())
    dynamo.control(rules=[{"fault": "unprocessed", "fraction": 0.5}])
    answer = put(client, range(25), sensor="half")
    assert 0 < len(answer["UnprocessedItems"]["t-1"]) < 25
    stored = dynamo.client.query(TableName="t-1", KeyConditionExpression="sensor = :s", ExpressionAttributeValues={":s": {"S": "half"}})
    assert stored["Count"] == 25 - len(answer["UnprocessedItems"]["t-1"])
    for fault, expected in (("throttle", "ProvisionedThroughputExceededException"), ("error", "InternalServerError")):
        dynamo.control(rules=[{"fault": fault}])
        assert refused(client, [1])[0] == expected
    for fault in ("reset", "cut", "bad_crc", "garbage", "html"):
        dynamo.control(rules=[{"fault": fault, "times": 1}], clear=True)
        try:
            put(client, [1])
        except Exception:  # noqa: BLE001 - boto3 retries some of these
            pass
        assert dynamo.control()["counts"][fault] == 1
        put(client, [2])


def test_credential_server(server_id, client_id, tmp_path):
    server = dynamodb.CredentialServer(server_id)
    try:
        url = f"https://localhost:{server.https}/role-aliases/gateway/credentials"
        context = ssl.create_default_context(cafile=str(server_id.ca))
        with pytest.raises((ssl.SSLError, urllib.error.URLError, OSError)):
            urllib.request.urlopen(url, context=context, timeout=5).read()
        context.load_cert_chain(str(client_id.cert), str(client_id.key))
        given = urllib.request.urlopen(url, context=context, timeout=5).read()
        assert b'"accessKeyId"' in given
        imds = f"http://127.0.0.1:{server.http}/latest/meta-data/iam/security-credentials/"
        with pytest.raises(urllib.error.HTTPError) as e:
            urllib.request.urlopen(imds, timeout=5)
        assert e.value.code == 401
    finally:
        server.close()
