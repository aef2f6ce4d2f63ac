"""DynamoDB for a test: dynalite, our verifying proxy in front of it (test/fakes/dynamodb_proxy.py), and the sources of credentials
(test/fakes/credential_server.py)."""

import http.client
import json
import os
import pathlib
import subprocess
import sys
import urllib.request

from .process import TOP, wait_until

FAKES = TOP / "test" / "fakes"
DYNALITE = TOP / "test" / "node_modules" / "dynalite"
REGION = "eu-central-1"

sys.path.insert(0, str(FAKES))
import aws_identity  # noqa: E402

# Nothing of the machine that the tests run on must answer for AWS.
NO_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_REGION": "",
    "AWS_DEFAULT_REGION": "", "AWS_CA_BUNDLE": "", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent/credentials",
    "AWS_CONFIG_FILE": "/nonexistent/config", "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "",
}


class Fake:
    """A program that prints one line when it is ready and ends with its standard input."""

    def __init__(self, argv, cwd=None):
        self.process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=cwd)
        self.line = self.process.stdout.readline().strip()
        assert self.line, f"{argv} did not start"

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()


def post(url, value=None):
    """GET, or POST of a JSON value; the JSON answer."""
    data = None if value is None else json.dumps(value).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


class Dynamo:
    """dynalite and the proxy. `client` is boto3's, straight to dynalite, as the gateway's owner would look."""

    def __init__(self, tls=None, proxy=True, seed=1):
        self.dynalite = Fake(["node", FAKES / "dynalite.js"], cwd=TOP / "test")
        self.backend = int(self.dynalite.line)
        self.tls = tls
        self.seed = seed
        self.proxy = None
        self.port = self.backend
        if proxy:
            self.start_proxy(0)
        self.client = self.boto3_client(self.backend)

    def start_proxy(self, port=None):
        argv = [sys.executable, FAKES / "dynamodb_proxy.py", "--backend", self.backend, "--port", self.port if port is None else port,
                "--region", REGION, "--seed", self.seed]
        if self.tls:
            argv += ["--certfile", self.tls.cert, "--keyfile", self.tls.key]
        self.proxy = Fake(argv)
        self.port = int(self.proxy.line)

    def stop_proxy(self):
        self.proxy.close()
        self.proxy = None

    def boto3_client(self, port, identity=None):
        import boto3
        from botocore.config import Config
        identity = identity or aws_identity.long_lived("LOOKER")
        return boto3.client("dynamodb", endpoint_url=f"http://127.0.0.1:{port}", region_name=REGION,
                            aws_access_key_id=identity.access_key, aws_secret_access_key=identity.secret_key,
                            aws_session_token=identity.token or None, config=Config(retries={"max_attempts": 1}))

    def close(self):
        if self.proxy:
            self.proxy.close()
        self.dynalite.close()

    @property
    def endpoint(self):
        return f"{'https' if self.tls else 'http'}://localhost:{self.port}"

    def options(self, table="greenhouse"):
        """Options of the plugin."""
        return [f"dynamodb_endpoint {self.endpoint}", f"aws_region {REGION}", f"dynamodb_table {table}"]

    def control(self, **change):
        return post(f"http://127.0.0.1:{self.port}/_control", change or None) if not self.tls else self._control_tls(change)

    def _control_tls(self, change):
        import ssl
        data = json.dumps(change).encode() if change else None
        context = ssl.create_default_context(cafile=str(self.tls.ca))
        request = urllib.request.Request(f"https://localhost:{self.port}/_control", data)
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            return json.load(answer)

    def create_table(self, name="greenhouse", sensor="sensor", time="timestamp", kind="S"):
        self.client.create_table(
            TableName=name, BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": sensor, "KeyType": "HASH"}, {"AttributeName": time, "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": sensor, "AttributeType": "S"}, {"AttributeName": time, "AttributeType": kind}])
        # While it is CREATING it answers as if it were not there.
        wait_until(lambda: self.client.describe_table(TableName=name)["Table"]["TableStatus"] == "ACTIVE", every=0.05)

    def count(self, table="greenhouse"):
        pages = self.client.get_paginator("scan").paginate(TableName=table, Select="COUNT")
        return sum(page["Count"] for page in pages)

    def items(self, table="greenhouse"):
        """Every item of a table, as DynamoDB's JSON."""
        pages = self.client.get_paginator("scan").paginate(TableName=table)
        return [item for page in pages for item in page["Items"]]

    def raw_items(self, table="greenhouse"):
        """Every item, without boto3: for tens of thousands."""
        connection = http.client.HTTPConnection("127.0.0.1", self.backend, timeout=60)
        headers = {"X-Amz-Target": "DynamoDB_20120810.Scan", "Content-Type": "application/x-amz-json-1.0", "X-Amz-Date": "x",
                   "Authorization": "AWS4-HMAC-SHA256 Credential=a/20200101/b/dynamodb/aws4_request, SignedHeaders=host, Signature=c"}
        request = {"TableName": table}
        while True:
            connection.request("POST", "/", json.dumps(request), headers)
            page = json.loads(connection.getresponse().read())
            yield from page["Items"]
            if "LastEvaluatedKey" not in page:
                connection.close()
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def wait_items(self, n, table="greenhouse", timeout=20):
        def there():
            return self.count(table) >= n
        wait_until(there, timeout, lambda: f"{n} items in {table}; there are {self.count(table)}, {self.control()}", 0.1)
        return self.items(table)


class CredentialServer:
    """IoT credential provider, container endpoint, instance metadata."""

    def __init__(self, server=None, token_file=None):
        argv = [sys.executable, FAKES / "credential_server.py"]
        if server:
            argv += ["--certfile", server.cert, "--keyfile", server.key, "--cafile", server.ca]
        if token_file:
            argv += ["--container-token-file", token_file]
        self.fake = Fake(argv)
        ports = json.loads(self.fake.line)
        self.http, self.https = ports["http"], ports["https"]

    def control(self, **change):
        return post(f"http://127.0.0.1:{self.http}/_control", change or None)

    def close(self):
        self.fake.close()


def environment(identity=None, **more):
    """Environment of a broker: no credentials of the machine, those of `identity` if given."""
    return dict(NO_CREDENTIALS, **(identity.environment() if identity else {}), **more)


def dynalite_is_there():
    return pathlib.Path(DYNALITE).exists()


def config_files(directory, credentials="", config=""):
    """Shared credentials and config files; the environment that names them."""
    paths = {"AWS_SHARED_CREDENTIALS_FILE": directory / "aws-credentials", "AWS_CONFIG_FILE": directory / "aws-config"}
    paths["AWS_SHARED_CREDENTIALS_FILE"].write_text(credentials)
    paths["AWS_CONFIG_FILE"].write_text(config)
    return {name: os.fspath(path) for name, path in paths.items()}
