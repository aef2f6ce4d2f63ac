"""dashboard.cgi under a real lighttpd, as CGI or FastCGI; and stores filled without the plugin."""

import http.client
import json
import os
import pathlib
import re
import sqlite3
import subprocess
import sys
import urllib.parse

from .process import TOP, Process, accepts, free_port, wait_until

LIGHTTPD = "/usr/sbin/lighttpd"
NGINX = "/usr/sbin/nginx"
# What systemd does with the .socket unit of the snippet: the program gets the listening socket as its standard input.
LISTEN = """import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(64)
os.dup2(listener.fileno(), 0)
os.execv(sys.argv[2], sys.argv[2:])"""
BROWSER = TOP / "test" / "browser" / "dashboard.mjs"
SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE measurement(sensor TEXT NOT NULL, timestamp INTEGER NOT NULL, topic TEXT NOT NULL, message TEXT NOT NULL,
                         PRIMARY KEY(sensor, timestamp)) WITHOUT ROWID;
CREATE TABLE sensor(sensor TEXT NOT NULL PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL, count INTEGER NOT NULL);
PRAGMA user_version = 1;
"""


def fill_sqlite(path, rows):
    """A store as the plugin makes it, or more rows in one; rows: (sensor, ms, message as value or JSON text)."""
    new = not pathlib.Path(path).exists()
    db = sqlite3.connect(path)
    if new:
        db.executescript(SCHEMA)
    rows = [(s, t, "topic/" + s, m if isinstance(m, str) else json.dumps(m)) for s, t, m in rows]
    db.executemany("INSERT INTO measurement VALUES(?, ?, ?, ?)", rows)
    db.execute("DELETE FROM sensor")
    db.execute("INSERT INTO sensor SELECT sensor, min(timestamp), max(timestamp), count(*) FROM measurement GROUP BY sensor")
    db.commit()
    db.close()


def browser_is_there():
    return ((TOP / "test" / "node_modules" / "playwright-core").exists()
            and pathlib.Path(os.environ.get("CHROMIUM", "/usr/bin/chromium")).exists())


def browse(dashboard, directory, scene, query="", timeout=120):
    """What a scene of test/browser/dashboard.mjs saw of the page."""
    result = subprocess.run(["node", BROWSER, dashboard.url, directory, scene], capture_output=True, text=True, timeout=timeout,
                            env={**os.environ, "QUERY": query})
    assert result.returncode == 0, result.stdout + result.stderr
    return json.loads(result.stdout.splitlines()[-1])


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self):
        return json.loads(self.body)


class Dashboard:
    """lighttpd with conf/lighttpd-dashboard.conf as it is delivered (or another snippet), its variables changed, and then what edit(text)
    does. kind: "fastcgi" or "cgi"."""

    def __init__(self, directory, build, options, kind="fastcgi", env=None, procs=1, edit=None, snippet=TOP / "conf/lighttpd-dashboard.conf"):
        self.snippet = pathlib.Path(snippet)
        self.directory = pathlib.Path(directory) / f"dashboard-{kind}-{free_port()}"
        self.directory.mkdir()
        self.port = free_port()
        self.conf = self.directory / "dashboard.conf"
        self.conf.write_text("\n".join(options) + "\n")
        self.url = f"http://127.0.0.1:{self.port}"
        self.write_lighttpd_conf(pathlib.Path(build) / "dashboard", kind, procs, edit)
        self.process = Process(f"lighttpd-{kind}", [LIGHTTPD, "-D", "-f", self.directory / "lighttpd.conf"], self.directory,
                               {**(env or {}), "DASHBOARD_CONF": str(self.conf)})

    def write_lighttpd_conf(self, built, kind, procs, edit):
        text = self.snippet.read_text()
        values = {"address": f"127.0.0.1:{self.port}", "program": built / "dashboard.cgi", "pages": f"{built}/page/",
                  "conf": self.conf, "socket": self.directory / "socket"}
        for name, value in values.items():
            text, found = re.subn(rf'(?m)^(var\.dashboard_{name}\s*= )"[^"]*"', rf'\1"{value}"', text)
            assert found == 1, name
        if kind == "cgi":
            text = self.as_cgi(text)
        text = text.replace('"max-procs" => 2', f'"max-procs" => {procs}')
        text = edit(text) if edit else text
        # The program's environment: everything of ours (sanitizers, AWS) but what the snippet sets.
        head = (f'server.document-root = "{self.directory}"\nserver.port = {free_port()}\nserver.bind = "127.0.0.1"\n'
                'server.errorlog = "/dev/stderr"\n')
        (self.directory / "lighttpd.conf").write_text(head + text)

    @staticmethod
    def as_cgi(text):
        """What the snippet's last comment says, done."""
        head, comment = text.split("Replace the part \"FastCGI\" above by\n")
        cgi = "\n".join(line.removeprefix("#") for line in comment.splitlines())
        head = head.replace('#server.modules += ( "mod_cgi"', 'server.modules += ( "mod_cgi"')
        start, end = head.index("    # FastCGI:"), head.index("    # Password,")
        return head[:start] + cgi + "\n" + head[end:]

    def start(self):
        self.process.start()
        wait_until(lambda: accepts(self.port), 10, lambda: self.process.tail(20))
        return self

    def get(self, path, method="GET", headers=None, body=None, tls=None):
        """tls: an SSLContext to speak TLS with."""
        connection = (http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=tls) if tls
                      else http.client.HTTPConnection("127.0.0.1", self.port, timeout=60))
        try:
            connection.request(method, path, body, headers or {})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def json(self, path, status=200):
        answer = self.get(path)
        assert answer.status == status, (path, answer.status, answer.body[:500])
        return answer.json()

    def range(self, sensor, status=200, **parameters):
        query = urllib.parse.urlencode(parameters)
        return self.json(f"/api/sensors/{urllib.parse.quote(sensor, safe='')}/range?{query}", status)


class NginxDashboard(Dashboard):
    """The same under nginx, with conf/nginx-dashboard.conf as it is delivered, its paths changed."""

    def __init__(self, directory, build, options, env=None, edit=None):
        self.directory = pathlib.Path(directory) / f"dashboard-nginx-{free_port()}"
        self.directory.mkdir()
        self.port = free_port()
        self.conf = self.directory / "dashboard.conf"
        self.conf.write_text("\n".join(options) + "\n")
        self.url = f"http://127.0.0.1:{self.port}"
        self.socket = self.directory / "socket"
        built = pathlib.Path(build) / "dashboard"
        self.write_nginx_conf(built, edit)
        self.program = Process("dashboard", [sys.executable, "-c", LISTEN, self.socket, built / "dashboard.cgi"], self.directory,
                               {**(env or {}), "DASHBOARD_CONF": str(self.conf)})
        self.process = Process("nginx", [NGINX, "-p", self.directory, "-c", self.directory / "nginx.conf"], self.directory)

    def write_nginx_conf(self, built, edit):
        text = (TOP / "conf" / "nginx-dashboard.conf").read_text()
        for old, new in (("listen 127.0.0.1:8090;", f"listen 127.0.0.1:{self.port};"), ("unix:/run/dashboard.sock;", f"unix:{self.socket};"),
                         ("/usr/share/mosquitto-aws/dashboard/", f"{built}/page/"), ("fastcgi_params", "/etc/nginx/fastcgi_params")):
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        text = edit(text) if edit else text
        paths = "".join(f"{name}_temp_path {self.directory}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        user = "user root;\n" if os.getuid() == 0 else ""
        (self.directory / "nginx.conf").write_text(
            f"{user}daemon off;\nworker_processes 1;\npid {self.directory}/pid;\nerror_log stderr;\nevents {{}}\n"
            f"http {{\ninclude /etc/nginx/mime.types;\naccess_log off;\n{paths}{text}}}\n")

    def start(self):
        self.program.start()
        wait_until(self.socket.exists, 10, lambda: self.program.tail(20))
        return super().start()
