"""The dashboard's way to AWS: DynamoDB over https, credentials for a device's certificate, a proxy between."""

import base64
import json
import os
import select
import socket
import subprocess
import threading

import pytest
from harness import dynamodb
from harness.process import free_port

pytestmark = pytest.mark.skipif(not dynamodb.dynalite_is_there(), reason="no dynalite: npm ci in test/")
T0 = 1_700_000_000_000


@pytest.fixture
def dynamo(started, server_id):
    d = dynamodb.Dynamo(tls=server_id)
    started.others.append(d)
    d.create_table()
    for n in range(3):
        d.client.put_item(TableName="greenhouse", Item={"sensor": {"S": f"station-{n}"}, "timestamp": {"S": str(T0)},
                                                        "message": {"M": {"t": {"N": str(n)}}}})
    return d


@pytest.fixture
def ask(build, started, dynamo, tmp_path):
    """ask(path, *options, **environment): what dashboard.cgi answers as plain CGI, without a web server: (status, JSON, log)."""
    def run(path, *options, **environment):
        conf = tmp_path / "dashboard.conf"
        conf.write_text("\n".join(["source dynamodb", *dynamo.options(), *options]) + "\n")
        env = {**os.environ, **started.sanitizer.env(preload=False), **environment, "DASHBOARD_CONF": os.fspath(conf),
               "REQUEST_METHOD": "GET", "GATEWAY_INTERFACE": "CGI/1.1", "REQUEST_URI": path}
        done = subprocess.run([build / "dashboard" / "dashboard.cgi"], stdin=subprocess.DEVNULL, capture_output=True, env=env,
                              timeout=60, check=False)
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        assert head.startswith(b"Status: "), done.stderr
        return int(head.split()[1]), json.loads(body), done.stderr.decode()
    return run


def credentials(**more):
    return dynamodb.environment(dynamodb.aws_identity.issue(3600), **more)


def sensors(answer):
    assert answer[0] == 200, answer
    return sorted(s["sensor"] for s in answer[1])


def test_authorities(ask, server_id, tmp_path):
    """Trust in a bundle that is named, in the system's folder and bundle; and in nobody."""
    three = ["station-0", "station-1", "station-2"]
    nothing = os.fspath(tmp_path / "nothing")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "ca.pem").write_bytes(server_id.ca.read_bytes())
    subprocess.run(["openssl", "rehash", folder], check=True)
    assert sensors(ask("/api/sensors", **credentials(AWS_CA_BUNDLE=os.fspath(server_id.ca)))) == three
    assert sensors(ask("/api/sensors", **credentials(SSL_CERT_DIR=nothing, SSL_CERT_FILE=os.fspath(server_id.ca)))) == three
    assert sensors(ask("/api/sensors", **credentials(SSL_CERT_DIR=os.fspath(folder), SSL_CERT_FILE=nothing))) == three
    status, answer, _ = ask("/api/sensors", **credentials(SSL_CERT_DIR=nothing, SSL_CERT_FILE=nothing))
    assert (status, answer["code"]) == (500, "store-configuration")


def test_kept_alive(dashboard, dynamo, server_id):
    """FastCGI: one process, request after request."""
    d = dashboard(["source dynamodb", *dynamo.options()], env=credentials(AWS_CA_BUNDLE=os.fspath(server_id.ca)))
    for _ in range(5):
        assert len(d.json("/api/sensors")) == 3
        assert d.json("/api/sensors/station-2/last")["timestamp"] == T0


def test_role_alias(ask, started, server_id, client_id):
    """No access keys: credentials from IoT's provider, over mutual TLS."""
    provider = dynamodb.CredentialServer(server_id)
    started.others.append(provider)
    options = ["aws_role_alias gateway", f"aws_credentials_endpoint localhost:{provider.https}", f"iot_certfile {client_id.cert}",
               f"iot_keyfile {client_id.key}", f"iot_cafile {client_id.ca}"]
    environment = dynamodb.environment(AWS_CA_BUNDLE=os.fspath(server_id.ca))
    assert len(sensors(ask("/api/sensors", *options, **environment))) == 3
    assert provider.control()["seen"][0]["certificate"] == "gateway"
    status, answer, _ = ask("/api/sensors", *[o.replace("gateway", "forbidden") if "alias" in o else o for o in options], **environment)
    assert status == 503 and answer["code"] == "store-credentials"


class Proxy:
    """Takes CONNECT to anywhere on this machine, with a name and password."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.seen = []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.relay, args=(client,), daemon=True).start()

    def relay(self, client):
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        self.seen.append(head.decode())
        wanted = "Proxy-Authorization: Basic " + base64.b64encode(b"anna:secret").decode()
        if wanted not in head.decode():
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            client.close()
            return
        server = socket.create_connection(("127.0.0.1", int(head.split()[1].rsplit(b":", 1)[1])))
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        ends = {client: server, server: client}
        while True:
            for end in select.select(list(ends), [], [])[0]:
                data = end.recv(65536)
                if not data:
                    client.close()
                    server.close()
                    return
                ends[end].sendall(data)

    def close(self):
        self.listener.close()


def test_proxy(ask, started, dynamo, server_id):
    proxy = Proxy()
    started.others.append(proxy)
    trusted = credentials(AWS_CA_BUNDLE=os.fspath(server_id.ca))
    address = f"127.0.0.1:{proxy.port}"
    assert len(sensors(ask("/api/sensors", https_proxy=f"http://anna:secret@{address}", **trusted))) == 3
    assert proxy.seen[0].startswith(f"CONNECT localhost:{dynamo.port} HTTP/1.1\r\n")
    tunnels = len(proxy.seen)
    assert len(sensors(ask("/api/sensors", https_proxy=f"http://{address}", no_proxy="localhost", **trusted))) == 3
    assert len(proxy.seen) == tunnels
    # A browser's "Proxy" header must not choose where our requests go.
    assert len(sensors(ask("/api/sensors", HTTP_PROXY=f"http://127.0.0.1:{free_port()}", **trusted))) == 3
