"""A running websensor, and HTTP as raw as a test wants it. Made by the fixture `websensor` of test_websensor*.py."""

import http.client
import json
import socket
import ssl
import time

from .process import accepts, free_port, wait_until


class Answer:
    """status, headers (lower case), body; json() of it."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


class Websensor:
    """options: "name value" each, beside broker, http_listener (port `http`) and with an identity listener (port `https`)."""

    def __init__(self, program, build, broker_port, identity=None, options=(), name="websensor"):
        self.identity = identity
        self.http = free_port()
        self.https = free_port() if identity else None
        argv = [build / "websensor" / "websensor", "--broker", f"127.0.0.1:{broker_port}", "--http_listener", self.http]
        if identity:
            argv += ["--listener", self.https, "--certfile", identity.cert, "--keyfile", identity.key]
        for option in options:
            option, _, value = option.partition(" ")
            argv += [f"--{option}", value]
        self.process = program(argv, name)
        wait_until(lambda: accepts(self.http), 10, "websensor's port")

    def wait_broker(self, up=True):
        wait_until(lambda: self.get("/healthz").status == (200 if up else 503), 40, "/healthz", 0.2)
        return self

    def connect(self, tls=False, source=None, timeout=20):
        s = socket.create_connection(("127.0.0.1", self.https if tls else self.http), timeout,
                                     source_address=(source, 0) if source else None)
        if tls:
            context = ssl.create_default_context(cafile=str(self.identity.ca))
            s = context.wrap_socket(s, server_hostname="localhost")
        return s

    def connection(self, tls=False):
        """An http.client connection, to be used for several requests."""
        c = http.client.HTTPConnection("127.0.0.1", self.http, timeout=20)
        c.sock = self.connect(tls)
        return c

    def request(self, method, url, body=None, headers=None, tls=False):
        c = self.connection(tls)
        try:
            if isinstance(body, (dict, list, bool, int)):
                body = json.dumps(body)
            c.request(method, url, body, headers or {})
            r = c.getresponse()
            return Answer(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())
        finally:
            c.close()

    def get(self, url, **more):
        return self.request("GET", url, **more)

    def post(self, url, body=b"", **more):
        return self.request("POST", url, body, **more)

    def raw(self, data, timeout=5):
        """Sends bytes; everything that comes back until the connection ends or is silent for 0.5 s."""
        s = self.connect(timeout=timeout)
        s.sendall(data)
        s.settimeout(0.5)
        got = b""
        end = time.monotonic() + timeout
        try:
            while time.monotonic() < end:
                piece = s.recv(65536)
                if not piece:
                    break
                got += piece
        except OSError:
            pass
        s.close()
        return got

    def metrics(self):
        lines = self.get("/metrics").body.decode().splitlines()
        return {name[len("websensor_"):]: int(value) for name, value in (line.split() for line in lines if line[0] != "#")}

    def memory_kb(self):
        return self.process.memory_kb()
