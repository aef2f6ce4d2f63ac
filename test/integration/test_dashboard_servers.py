"""The snippets for web servers: conf/nginx-dashboard.conf as it is delivered, and what is commented out in both."""

import base64
import gzip
import hashlib
import pathlib
import re
import shutil
import ssl
import subprocess
import types

import pytest
from harness.dashboard import NGINX, Dashboard, NginxDashboard, fill_sqlite
from harness.process import TOP

T0 = 1_700_000_000_000
pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
needs_nginx = pytest.mark.skipif(not pathlib.Path(NGINX).exists(), reason="no nginx")


@pytest.fixture
def nginx(started, build, tmp_path):
    fill_sqlite(tmp_path / "store.db", [("station", T0 + i * 1000, {"temperature": i / 4}) for i in range(1000)]
                + [("a/b", T0, {"value": 1})])
    d = NginxDashboard(tmp_path, build, [f"sqlite_file {tmp_path}/store.db"], started.sanitizer.env(preload=False))
    started.processes += [d.process, d.program]
    return d.start()


@needs_nginx
def test_nginx(nginx):
    page = nginx.get("/?sensor=station")
    assert page.status == 200 and "script-src 'self'" in page.headers["Content-Security-Policy"]
    links = [p.split('"')[0] for p in page.body.decode().replace('src="', 'href="').split('href="')[1:]]
    files = [link for link in links if link.startswith("page/")]
    assert len(files) > 5
    for link in files:
        answer = nginx.get("/" + link)
        assert answer.status == 200 and "max-age" in answer.headers["Cache-Control"], link
    assert nginx.get("/page/../../../etc/passwd").status in (400, 404)
    assert nginx.range("station", **{"from": T0, "to": T0 + 99999, "points": 10})["temperature"]["max"][9] == 99 / 4
    assert nginx.range("a/b", **{"from": T0, "to": T0})["value"]["avg"] == [1]
    first = nginx.get("/api/sensors/station/last")
    assert nginx.get("/api/sensors/station/last", headers={"If-None-Match": first.headers["ETag"]}).status == 304
    csv = nginx.get("/api/sensors/station/export.csv?from=0", headers={"Accept-Encoding": "gzip"})
    assert csv.headers["Content-Encoding"] == "gzip" and gzip.decompress(csv.body).count(b"\n") == 1001
    assert len(nginx.json("/station/")) == 100
    assert nginx.get("/api/sensors", "POST", body="x").status == 405
    assert nginx.get("/api/sensors", "POST", body="x" * 100000).status == 413


@pytest.mark.parametrize("server", ["lighttpd", pytest.param("nginx", marks=needs_nginx)])
def test_names_of_strangers(server, request, tmp_path):
    """A page of a stranger whose own name leads here (DNS rebinding) gets nothing; whoever is at home, does."""
    if server == "nginx":
        d = request.getfixturevalue("nginx")
    else:
        fill_sqlite(tmp_path / "store.db", [("station", T0, {"temperature": 1})])
        d = request.getfixturevalue("dashboard")([f"sqlite_file {tmp_path}/store.db"])
    for path in ("/", "/api/sensors", "/page/dygraph.min.js", "/station/"):
        for host in ("evil.example", f"127.0.0.1.evil.example:{d.port}", "localhost.evil.example", "lan.evil.example:80", "a.home.evil"):
            assert d.get(path, headers={"Host": host}).status == 403, (path, host)
        for host in ("127.0.0.1", f"localhost:{d.port}", f"[::1]:{d.port}", "192.168.1.7:8090", "greenhouse", "greenhouse.local:8090", "gw.home.arpa"):
            assert d.get(path, headers={"Host": host}).status == 200, (path, host)


def basic(name, word):
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{word}".encode()).decode()}


def uncomment(text, *starts):
    """Takes the # away from the lines that begin so."""
    for start in starts:
        text, found = re.subn(rf"(?m)^(\s*)#({re.escape(start)})", r"\1\2", text)
        assert found == 1, start
    return text


def password_file(tmp_path):
    """What htpasswd writes."""
    line = subprocess.run(["openssl", "passwd", "-6", "secret"], check=True, capture_output=True, text=True).stdout
    path = tmp_path / "users"
    path.write_text(f"anna:{line}")
    return path


def check_password_and_tls(dashboard, pki):
    context = ssl.create_default_context(cafile=pki.ca)
    for path in ("/", "/api/sensors", "/page/dygraph.min.js", "/station/"):
        assert dashboard.get(path, tls=context).status == 401, path
        assert dashboard.get(path, headers=basic("anna", "wrong"), tls=context).status == 401, path
        assert dashboard.get(path, headers=basic("anna", "secret"), tls=context).status == 200, path
    old = ssl.create_default_context(cafile=pki.ca)
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    old.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        dashboard.get("/", tls=old)


@needs_nginx
def test_nginx_with_password_and_tls(started, build, tmp_path, pki, server_id):
    fill_sqlite(tmp_path / "store.db", [("station", T0, {"temperature": 1})])
    users = password_file(tmp_path)

    def edit(text):
        text = uncomment(text, "ssl_certificate ", "ssl_certificate_key", "ssl_protocols", "auth_basic ", "auth_basic_user_file")
        for old, new in (("/etc/mosquitto-aws/dashboard.crt", server_id.cert), ("/etc/mosquitto-aws/dashboard.key", server_id.key),
                         ("/etc/mosquitto-aws/dashboard.users", users)):
            text = text.replace(old, str(new))
        return re.sub(r"listen (\S+);", r"listen \1 ssl;", text, count=1)
    d = NginxDashboard(tmp_path, build, [f"sqlite_file {tmp_path}/store.db"], started.sanitizer.env(preload=False), edit)
    started.processes += [d.process, d.program]
    check_password_and_tls(d.start(), pki)


@pytest.mark.skipif(not pathlib.Path("/usr/lib/lighttpd/mod_openssl.so").exists(), reason="no lighttpd-mod-openssl")
def test_lighttpd_with_password_and_tls(dashboard, tmp_path, pki, server_id):
    fill_sqlite(tmp_path / "store.db", [("station", T0, {"temperature": 1})])
    users = password_file(tmp_path)

    def edit(text):
        text = uncomment(text, 'server.modules += ( "mod_auth"', 'server.modules += ( "mod_openssl"', "ssl.engine", "ssl.pemfile",
                         "ssl.privkey", "ssl.openssl", 'auth.backend = "htpasswd"', "auth.backend.htpasswd",
                         'auth.require = ( "" => ( "method" => "basic"')
        for old, new in (("/etc/mosquitto-aws/dashboard.crt", server_id.cert), ("/etc/mosquitto-aws/dashboard.key", server_id.key),
                         ("/etc/mosquitto-aws/dashboard.users", users)):
            text = text.replace(old, str(new))
        return text
    check_password_and_tls(dashboard([f"sqlite_file {tmp_path}/store.db"], edit=edit), pki)


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl")
def test_lighttpd_with_digest(dashboard, tmp_path):
    """The first of its examples: safe from listeners without TLS too."""
    fill_sqlite(tmp_path / "store.db", [("station", T0, {"temperature": 1})])
    users = tmp_path / "users"
    users.write_text(f"anna:sensors:{hashlib.sha256(b'anna:sensors:secret').hexdigest()}\n")

    def edit(text):
        text = uncomment(text, 'server.modules += ( "mod_auth"', 'auth.backend = "htdigest"', "auth.backend.htdigest",
                         'auth.require = ( "" => ( "method" => "digest"')
        return text.replace("/etc/mosquitto-aws/dashboard.users", str(users))
    d = dashboard([f"sqlite_file {tmp_path}/store.db"], edit=edit)
    answer = d.get("/api/sensors")
    offered = answer.headers["WWW-Authenticate"]
    assert answer.status == 401 and offered.startswith("Digest") and "SHA-256" in offered
    for word, status in (("secret", 200), ("wrong", 401)):
        done = subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--digest", "-u", f"anna:{word}",
                               d.url + "/api/sensors"], capture_output=True, text=True, check=False)
        assert int(done.stdout) == status


SETUP = TOP / "dashboard" / "setup"


def set_up(folder, *words, password="", ok=True):
    """dashboard/setup -o; the configuration that it wrote, or what it complained of"""
    out = folder / "lighttpd.conf"
    p = subprocess.run([SETUP, "-d", folder, "-o", out, *words], input=f"{password}\n", capture_output=True, text=True, check=False)
    assert (p.returncode == 0) == ok, p.stdout + p.stderr
    return out if ok else p.stderr


@pytest.mark.skipif(not pathlib.Path("/usr/lib/lighttpd/mod_openssl.so").exists(), reason="no lighttpd-mod-openssl")
def test_set_up_by_one_command(dashboard, tmp_path):
    """Password and TLS as dashboard/setup makes them; again, for a second user and a new password."""
    fill_sqlite(tmp_path / "store.db", [("station", T0, {"temperature": 1})])
    folder = tmp_path / "etc with blanks"
    folder.mkdir()
    set_up(folder, "bert", password="another")
    certificate = (folder / "dashboard.crt").read_bytes()
    set_up(folder, "anna", password="old")
    snippet = set_up(folder, "anna", password="secret")
    assert (folder / "dashboard.crt").read_bytes() == certificate
    assert (folder / "dashboard.users").stat().st_mode & 0o007 == 0
    assert len((folder / "dashboard.users").read_text().splitlines()) == 2
    d = dashboard([f"sqlite_file {tmp_path}/store.db"], snippet=snippet)
    check_password_and_tls(d, types.SimpleNamespace(ca=folder / "ca.crt"))
    context = ssl.create_default_context(cafile=folder / "ca.crt")
    assert d.get("/", headers=basic("bert", "another"), tls=context).status == 200
    assert d.get("/", headers={**basic("bert", "another"), "Host": "sensors.example.com"}, tls=context).status == 200
    assert d.get("/", headers=basic("anna", "old"), tls=context).status == 401


def test_set_up_for_this_machine_alone(dashboard, tmp_path):
    fill_sqlite(tmp_path / "store.db", [("station", T0, {"temperature": 1})])
    snippet = set_up(tmp_path, "--local")
    assert subprocess.run([SETUP, "-d", tmp_path, "--local", "-o", "-"], capture_output=True, text=True, check=True).stdout == snippet.read_text()
    d = dashboard([f"sqlite_file {tmp_path}/store.db"], snippet=snippet)
    assert d.get("/").status == 200
    assert d.get("/", headers={"Host": "sensors.example.com"}).status == 403
    for words, complaint in ((["--local", "anna"], "--local"), ([], "which user"), (["an:na"], "an:na"), (["--listen", "8090", "anna"], "--listen"),
                             (["--cert", "x", "anna"], "--key"), (["--nonsense"], "--nonsense"), (["anna"], "no password")):
        assert complaint in set_up(tmp_path, *words, ok=False)
