#!/usr/bin/python3
"""The three places on a network where a gateway gets AWS credentials from, for tests: the IoT credential provider (HTTPS, a client
certificate is required), a container's endpoint and the instance metadata service (IMDSv2).

    credential_server.py [--certfile FILE --keyfile FILE --cafile FILE] [--address ADDR] [--http-port PORT]

prints {"https": PORT or null, "http": PORT}. GET /_control on the HTTP port gives what it saw; POST /_control changes it:
{"lifetime": seconds, "status": {"role_alias" | "container" | "imds": HTTP status, 200 to work again}, "body": {"...": text
instead of the answer}, "imds_token_lifetime": seconds, "clear": true}.

Role aliases: "gateway" answers, "forbidden" is 403, every other one 404. The container's token is "container-token" (or what
--container-token-file holds now). The instance's role is "gateway-role".
"""
import argparse
import json
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aws_identity

IMDS = "/latest/meta-data/iam/security-credentials/"


class State:
    def __init__(self, token_file):
        self.lock = threading.Lock()
        self.lifetime = 3600.0
        self.status = {}
        self.body = {}
        self.token_file = token_file
        self.imds_token_lifetime = 21600.0
        self.imds_tokens = {}
        self.clear()

    def clear(self):
        self.counts = {}
        self.seen = []

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def control(self, change):
        with self.lock:
            self.lifetime = float(change.get("lifetime", self.lifetime))
            self.imds_token_lifetime = float(change.get("imds_token_lifetime", self.imds_token_lifetime))
            self.status.update(change.get("status", {}))
            self.body.update(change.get("body", {}))
            if change.get("clear"):
                self.clear()

    def show(self):
        with self.lock:
            return {"counts": dict(self.counts), "seen": self.seen[-50:]}

    def container_token(self):
        if not self.token_file:
            return "container-token"
        with open(self.token_file, encoding="utf-8") as f:
            return f.read().strip()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    state = None

    def setup(self):
        if isinstance(self.request, ssl.SSLSocket):
            self.request.do_handshake()
        super().setup()

    def log_message(self, *args):
        pass

    def answer(self, status, body):
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "text/plain" if isinstance(body, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def out_of_order(self, source):
        """Answers as the test wants this source to fail; False when it is to work."""
        self.state.count(source)
        status = self.state.status.get(source, 200)
        body = self.state.body.get(source)
        if status == 200 and not body:
            return False
        self.answer(status, body or {"message": f"{source} is out of order"})
        return True

    def issued(self, names):
        identity = aws_identity.issue(self.state.lifetime)
        values = (identity.access_key, identity.secret_key, identity.token, identity.expiration())
        return dict(zip(names, values))


class IotHandler(Handler):
    """The IoT credential provider."""

    def do_GET(self):
        subject = dict(pair for part in self.connection.getpeercert()["subject"] for pair in part)
        with self.state.lock:
            self.state.seen.append({"certificate": subject.get("commonName"), "thing": self.headers.get("x-amzn-iot-thingname")})
        if self.out_of_order("role_alias"):
            return
        if self.path == "/role-aliases/gateway/credentials":
            names = ("accessKeyId", "secretAccessKey", "sessionToken", "expiration")
            self.answer(200, {"credentials": self.issued(names)})
        elif self.path == "/role-aliases/forbidden/credentials":
            self.answer(403, {"message": "Access Denied"})
        else:
            self.answer(404, {"message": "Role alias does not exist"})


class PlainHandler(Handler):
    """Container endpoint and instance metadata."""

    def do_GET(self):
        if self.path == "/_control":
            self.answer(200, self.state.show())
        elif self.path.startswith(IMDS):
            self.imds()
        elif self.path == "/container":
            self.container()
        else:
            self.answer(404, "Not Found")

    def do_POST(self):
        change = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.state.control(change)
        self.answer(200, self.state.show())

    def do_PUT(self):
        ttl = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if self.path != "/latest/api/token" or not ttl.isdigit() or not 1 <= int(ttl) <= 21600:
            self.answer(400, "Bad Request")
            return
        self.state.count("imds_token")
        with self.state.lock:
            token = f"imds-token-{len(self.state.imds_tokens)}"
            self.state.imds_tokens[token] = time.time() + min(int(ttl), self.state.imds_token_lifetime)
        self.answer(200, token)

    def imds(self):
        token = self.headers.get("X-aws-ec2-metadata-token", "")
        if self.state.imds_tokens.get(token, 0) < time.time():
            self.state.count("imds_unauthorized")
            self.answer(401, "Unauthorized")
        elif self.path == IMDS:
            self.answer(200, "gateway-role")
        elif self.out_of_order("imds"):
            pass
        elif self.path == IMDS + "gateway-role":
            names = ("AccessKeyId", "SecretAccessKey", "Token", "Expiration")
            self.answer(200, dict({"Code": "Success", "Type": "AWS-HMAC"}, **self.issued(names)))
        else:
            self.answer(404, "Not Found")

    def container(self):
        if self.out_of_order("container"):
            return
        if self.headers.get("Authorization") != self.state.container_token():
            self.state.count("container_unauthorized")
            self.answer(401, {"code": "Unauthorized", "message": "wrong token"})
            return
        self.answer(200, self.issued(("AccessKeyId", "SecretAccessKey", "Token", "Expiration")))


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address, handler, tls=None):
        self.tls = tls
        super().__init__(address, handler)

    def get_request(self):
        connection, address = super().get_request()
        if self.tls:
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def main():
    parser = argparse.ArgumentParser(description="IoT credential provider, container endpoint and IMDSv2")
    parser.add_argument("--certfile")
    parser.add_argument("--keyfile")
    parser.add_argument("--cafile", help="CA of the client certificates")
    parser.add_argument("--container-token-file")
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--http-port", type=int, default=0)
    o = parser.parse_args()
    state = State(o.container_token_file)
    servers = [Server((o.address, o.http_port), type("Plain", (PlainHandler,), {"state": state}))]
    if o.certfile:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(o.certfile, o.keyfile)
        tls.load_verify_locations(o.cafile)
        tls.verify_mode = ssl.CERT_REQUIRED
        servers.append(Server((o.address, 0), type("Iot", (IotHandler,), {"state": state}), tls))
    ports = [s.server_address[1] for s in servers]
    print(json.dumps({"http": ports[0], "https": ports[1] if o.certfile else None}), flush=True)
    for s in servers:
        threading.Thread(target=s.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
