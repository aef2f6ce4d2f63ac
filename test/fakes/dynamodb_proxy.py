#!/usr/bin/python3
"""DynamoDB as AWS runs it, for tests: a proxy in front of dynalite that checks signatures, clock and session tokens, enforces the
documented limits, and fails on demand.

    dynamodb_proxy.py --backend PORT [--port PORT] [--region REGION] [--certfile FILE --keyfile FILE]

prints its port. GET /_control gives what it saw; POST /_control {"rules": [...], "skew": seconds, "revoke": true, "clear": true}
changes how it behaves ("clear" sets the counters to zero). A rule is {"fault": NAME, "share": 0..1 of the requests (1),
"times": at most so often, "operation": "BatchWriteItem" (any), ...}; each request goes through all rules in order:

    throttle        ProvisionedThroughputExceededException ("code" for another one, "status", "retry_after": ms)
    unprocessed     "fraction" (0.3) of a batch's items come back in UnprocessedItems, all of them never
    hot_partition   items of "sensor" beyond "rate" a second come back in UnprocessedItems
    error           status "status" (500) with "code" (InternalServerError); "written": true: after the items were written
    slow            the answer comes after "delay" seconds (1)
    reset           the connection breaks; "written": true: after the items were written
    cut             half of the answer comes, then the connection breaks (the items are written)
    bad_crc         the answer's x-amz-crc32 is wrong (the items are written)
    garbage         status 200 with a body that is no JSON (nothing is written)
    html            status 503 with HTML, as a load balancer answers (nothing is written)
"""
import argparse
import http.client
import json
import random
import socket
import ssl
import struct
import sys
import threading
import time
import zlib
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aws_verify
import dynamodb_limits
from aws_verify import Refused

DUMMY_AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=a/20200101/b/dynamodb/aws4_request, SignedHeaders=host, Signature=c"


class Cut(Exception):
    """The connection ends here without a (complete) answer."""


class Answered(Exception):
    """The request has its answer already."""


class State:
    """What the control URL sets and shows; shared by the connections' threads."""

    def __init__(self, backend, region, seed):
        self.lock = threading.Lock()
        self.backend = backend
        self.region = region
        self.random = random.Random(seed)
        self.rules = []
        self.skew = 0.0
        self.revoked_before = 0.0
        self.tables = {}
        self.writes = {}  # key -> how often it was written
        self.buckets = {}  # (sensor, second) -> items
        self.clear()

    def clear(self):
        self.counts = {}
        self.refusals = []
        self.access_keys = []
        self.connections = 0
        self.active = 0
        self.most_active = 0
        self.writes.clear()

    def count(self, what, n=1):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + n

    def now(self):
        return time.time() + self.skew

    def control(self, change):
        with self.lock:
            if "rules" in change:
                self.rules = [dict(rule, left=rule.get("times", -1)) for rule in change["rules"]]
            if "skew" in change:
                self.skew = float(change["skew"])
            if change.get("revoke"):
                self.revoked_before = time.time()
            if change.get("clear"):
                self.clear()
        return self.show()

    def show(self):
        with self.lock:
            return {
                "counts": dict(self.counts),
                "refusals": self.refusals[-50:],
                "access_keys": list(self.access_keys),
                "connections": self.connections,
                "most_active": self.most_active,
                "distinct": len(self.writes),
                "repeated": sum(1 for n in self.writes.values() if n > 1),
            }

    def fire(self, operation):
        """The rules that apply to this request."""
        fired = []
        with self.lock:
            for rule in self.rules:
                if rule["left"] == 0 or rule.get("operation", operation) != operation:
                    continue
                if self.random.random() < rule.get("share", 1.0):
                    rule["left"] -= 1
                    fired.append(rule)
                    self.counts[rule["fault"]] = self.counts.get(rule["fault"], 0) + 1
        return fired

    def used(self, identity):
        with self.lock:
            if identity.access_key not in self.access_keys:
                self.access_keys.append(identity.access_key)


def hold_back(state, request, fired):
    """Moves items that a rule refuses from `request` to the UnprocessedItems that are returned."""
    unprocessed = {}
    rules = [r for r in fired if r["fault"] in ("unprocessed", "hot_partition")]
    if not rules:
        return unprocessed
    for table, puts in request["RequestItems"].items():
        kept = []
        for put in puts:
            (unprocessed.setdefault(table, []) if any(refuses(state, r, put) for r in rules) else kept).append(put)
        request["RequestItems"][table] = kept
    request["RequestItems"] = {t: puts for t, puts in request["RequestItems"].items() if puts}
    if not request["RequestItems"]:
        if all(r["fault"] == "hot_partition" for r in rules):
            raise Refused(
                "ProvisionedThroughputExceededException",
                "The level of configured provisioned throughput for the table was exceeded.",
                prefix="com.amazonaws.dynamodb.v20120810#",
            )
        table, puts = next(iter(unprocessed.items()))
        request["RequestItems"] = {table: [puts.pop()]}
    return {t: puts for t, puts in unprocessed.items() if puts}


def refuses(state, rule, put):
    if rule["fault"] == "unprocessed":
        return state.random.random() < rule.get("fraction", 0.3)
    item = put["PutRequest"]["Item"]
    if not any(v.get("S") == rule["sensor"] for v in item.values()):
        return False
    slot = (rule["sensor"], int(time.time()))
    with state.lock:
        state.buckets[slot] = state.buckets.get(slot, 0) + 1
        return state.buckets[slot] > rule["rate"]


class Backend:
    """One connection to dynalite."""

    def __init__(self, port):
        self.port = port
        self.connection = None

    def call(self, operation, body):
        headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": f"DynamoDB_20120810.{operation}",
            "X-Amz-Date": "20200101T000000Z",
            "Authorization": DUMMY_AUTHORIZATION,
        }
        for attempt in (1, 2):
            try:
                if not self.connection:
                    self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                    self.connection.connect()
                    self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connection.request("POST", "/", body, headers)
                answer = self.connection.getresponse()
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException):
                self.connection = None
                if attempt == 2:
                    raise


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    state = None
    quiet = True

    def setup(self):
        if isinstance(self.request, ssl.SSLSocket):
            self.request.do_handshake()
        super().setup()
        self.to_dynalite = Backend(self.state.backend)
        with self.state.lock:
            self.state.connections += 1

    def log_message(self, *args):
        pass

    def answer(self, status, body, headers=(), cut=False, crc=None):
        self.send_response_only(status)
        self.send_header("Date", formatdate(self.state.now(), usegmt=True))
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-amz-crc32", str(zlib.crc32(body) if crc is None else crc))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.wfile.flush()
        if cut:
            raise Cut

    def refuse(self, refused, status=400, headers=()):
        self.state.count(refused.kind)
        with self.state.lock:
            self.state.refusals.append(f"{refused.kind}: {refused.message}"[:500])
        self.answer(status, json.dumps({"__type": refused.type, "message": refused.message}).encode(), headers)

    def do_GET(self):
        if self.path == "/_control":
            self.answer(200, json.dumps(self.state.show()).encode())
        else:
            self.answer(200, b"healthy: dynamodb ")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/_control":
            self.answer(200, json.dumps(self.state.control(json.loads(body))).encode())
            return
        with self.state.lock:
            self.state.active += 1
            self.state.most_active = max(self.state.most_active, self.state.active)
        try:
            self.serve(body)
        except Answered:
            pass
        except Refused as refused:
            self.refuse(refused)
        except Cut:
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        finally:
            with self.state.lock:
                self.state.active -= 1

    def serve(self, body):
        state = self.state
        operation = self.headers.get("X-Amz-Target", "").partition(".")[2]
        state.count("requests")
        fired = state.fire(operation)
        for rule in fired:
            self.before(rule)
        if len(body) > dynamodb_limits.REQUEST_MAX:
            self.answer(413, b"")
            return
        identity = aws_verify.verify("POST", self.path, self.headers, body, state.region, state.now(), state.revoked_before)
        state.used(identity)
        if self.headers.get("Content-Type") != "application/x-amz-json-1.0":
            raise Refused("SerializationException", "wrong content type")
        unprocessed = {}
        if operation == "BatchWriteItem":
            body, unprocessed = self.check(body, fired)
        status, answer = self.to_dynalite.call(operation, body)
        if status == 200 and operation == "BatchWriteItem":
            self.written(json.loads(body))
            if unprocessed:
                answer = json.dumps({"UnprocessedItems": unprocessed}).encode()
        elif status != 200:
            state.count(json.loads(answer).get("__type", "").rpartition("#")[2])
            with state.lock:
                state.refusals.append(answer.decode()[:500])
        self.after(fired, status, answer)

    def check(self, body, fired):
        """The body to forward, and what comes back unprocessed."""
        try:
            request = json.loads(body)
            tables = request["RequestItems"]
        except (ValueError, KeyError, TypeError):
            raise Refused("SerializationException", "body is no BatchWriteItem") from None
        for table in tables:
            self.learn(table)
        dynamodb_limits.check_batch(request, self.state.tables)
        self.state.count("items", sum(len(puts) for puts in tables.values()))
        unprocessed = hold_back(self.state, request, fired)
        if not unprocessed:
            return body, {}
        self.state.count("items_unprocessed", sum(len(puts) for puts in unprocessed.values()))
        return json.dumps(request).encode(), unprocessed

    def learn(self, table):
        if table in self.state.tables:
            return
        status, answer = self.to_dynalite.call("DescribeTable", json.dumps({"TableName": table}))
        if status == 200:
            shown = json.loads(answer)["Table"]
            kinds = {a["AttributeName"]: a["AttributeType"] for a in shown["AttributeDefinitions"]}
            keys = [(k["AttributeName"], kinds[k["AttributeName"]]) for k in shown["KeySchema"]]
            if len(keys) == 2:
                self.state.tables[table] = tuple(keys)

    def written(self, request):
        with self.state.lock:
            for table, puts in request["RequestItems"].items():
                keys = self.state.tables.get(table)
                for put in puts if keys else ():
                    item = put["PutRequest"]["Item"]
                    key = (table,) + tuple(item[name][kind] for name, kind in keys)
                    self.state.writes[key] = self.state.writes.get(key, 0) + 1

    def before(self, rule):
        """Faults that strike before anything is written."""
        fault = rule["fault"]
        if fault == "slow":
            time.sleep(rule.get("delay", 1))
        elif fault == "throttle":
            code = rule.get("code", "ProvisionedThroughputExceededException")
            headers = [("x-amz-retry-after", str(rule["retry_after"]))] if "retry_after" in rule else []
            self.fail(rule.get("status", 400), code, "Rate exceeded", headers)
        elif fault == "error" and not rule.get("written"):
            self.fail(rule.get("status", 500), rule.get("code", "InternalServerError"), "Internal server error")
        elif fault == "reset" and not rule.get("written"):
            raise Cut
        elif fault == "garbage":
            self.answer(200, b"{\"UnprocessedItems\": ")
            raise Answered
        elif fault == "html":
            self.answer(503, b"<html><body><h1>503 Service Unavailable</h1></body></html>", crc=0)
            raise Answered

    def fail(self, status, code, message, headers=()):
        self.refuse(Refused(code, message, prefix="com.amazonaws.dynamodb.v20120810#"), status, headers)
        raise Answered

    def after(self, fired, status, answer):
        """Faults that strike when the items are already written."""
        faults = {rule["fault"]: rule for rule in fired}
        if "error" in faults:
            rule = faults["error"]
            self.fail(rule.get("status", 500), rule.get("code", "InternalServerError"), "Internal server error")
        if "reset" in faults:
            raise Cut
        crc = zlib.crc32(answer) ^ 1 if "bad_crc" in faults else None
        self.answer(status, answer, cut="cut" in faults, crc=crc)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address, handler, tls=None):
        self.tls = tls
        super().__init__(address, handler)

    def get_request(self):
        connection, address = super().get_request()
        if self.tls:
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], (OSError, ValueError)):
            super().handle_error(request, client_address)


def serve(backend, port=0, region="eu-central-1", certfile=None, keyfile=None, seed=1):
    """A server that is bound and not yet serving."""
    tls = None
    if certfile:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certfile, keyfile)
    handler = type("ProxyHandler", (Handler,), {"state": State(backend, region, seed)})
    return Server(("127.0.0.1", port), handler, tls)


def main():
    parser = argparse.ArgumentParser(description="DynamoDB with signatures, limits and faults, in front of dynalite")
    parser.add_argument("--backend", type=int, required=True, help="dynalite's port")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--region", default="eu-central-1")
    parser.add_argument("--certfile")
    parser.add_argument("--keyfile")
    parser.add_argument("--seed", type=int, default=1, help="of the random choices")
    o = parser.parse_args()
    server = serve(o.backend, o.port, o.region, o.certfile, o.keyfile, o.seed)
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
