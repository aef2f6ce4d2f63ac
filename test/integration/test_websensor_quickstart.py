"""The curl examples of the README against ./quickstart: each ends as a row in SQLite. And websensor/setup, HTTPS by one command."""

import os
import re
import shlex
import subprocess

from harness.files import Store
from harness.process import TOP, free_port

SENSORS = ["kitchen", "walk-sensor-raw", "phone", "walk-sensor-proc", "soil", "iphone", "lab", "desk", "alice", "roof", "yard",
           "attic"]


def test_examples(program, plugin, build, tmp_path):
    p = program([TOP / "quickstart", "--no-install", "--build", build, "--dir", tmp_path / "run"], "quickstart")
    p.wait_log("Ctrl-C ends", 60)
    port = re.search(r"websensor +127\.0\.0\.1:(\d+)", p.text())[1]
    text = (TOP / "README.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("curl ") and "127.0.0.1:8080" in line]
    assert len(lines) == len(SENSORS)
    store = Store(tmp_path / "run" / "measurements.db")
    for line, sensor in zip(lines, SENSORS):
        argv = ["curl", "-sS", "--fail-with-body", "-m", "10", *shlex.split(line.replace(":8080", f":{port}"))[1:]]
        done = subprocess.run(argv, capture_output=True, text=True)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        store.wait_count(1, 10, "sensor = ?", sensor)
    printed = re.search(r"curl .*/api/v1/\w+/telemetry", p.text())[0]
    subprocess.run(["sh", "-c", printed.replace("curl", "curl -sS -m 10 --fail-with-body", 1)], check=True)
    store.wait_count(1, 10, "sensor = 'boiler'")
    printed = re.search(r"curl --cacert .*walk-sensor/proc'", p.text())[0]
    done = subprocess.run(["sh", "-c", printed.replace("curl", "curl -sS -m 10 --fail-with-body", 1)], capture_output=True, text=True)
    assert done.stdout == "OK", done
    store.wait_count(2, 10, "sensor = 'walk-sensor-proc'")


SETUP = TOP / "websensor" / "setup"


def set_up(folder, *words, ok=True, env=None):
    """websensor/setup -o; what it printed or complained of"""
    p = subprocess.run([SETUP, "-d", folder, "-o", folder / "https.conf", *words], capture_output=True, text=True, check=False,
                       env={**os.environ, **(env or {})})
    assert (p.returncode == 0) == ok, p.stdout + p.stderr
    return p.stdout if ok else p.stderr


def token_of(text, port=8443):
    return re.search(rf"https://[^/]*:{port}/#([0-9a-f]{{32}})$", text, re.M)[1]


def test_https_by_one_command(program, plain_broker, build, tmp_path):
    """A token for a phone; another name's own topics; what is there is kept. The drop-in's command serves it, with the files that systemd would hand over."""
    folder = tmp_path / "etc"
    folder.mkdir()
    b = plain_broker()
    (folder / "websensor.conf").write_text(f"broker 127.0.0.1:{b.port}\n")
    first = token_of(set_up(folder))
    certificate = (folder / "websensor.crt").read_bytes()
    port = str(free_port())
    other = token_of(set_up(folder, "--port", port, "Anna's phone", "sensors/anna/#", "x/+/y"), port)
    assert token_of(set_up(folder, "phone")) == first and (folder / "websensor.crt").read_bytes() == certificate
    for secret in ("websensor-tokens", "websensor.key", "ca.key"):
        assert (folder / secret).stat().st_mode & 0o077 == 0
    assert (folder / "websensor-tokens").read_text().split("\n") == [
        "# Anna's phone", f"{other} sensors/anna/#", f"{other} x/+/y", "# phone", f"{first} sensors/#", f"{first} $aws/things/#", ""]
    assert not set_up(folder, "--port", port)  # renews, and has nothing to tell
    drop_in = (folder / "https.conf").read_text()
    given = tmp_path / "credentials"
    given.mkdir()
    for name, path in re.findall(r"^LoadCredential=(.*):(.*)$", drop_in, re.M):
        (given / name).symlink_to(path)
    words = shlex.split(re.search(r"^ExecStart=(.+)$", drop_in, re.M)[1].replace("%d", str(given)))
    program([build / "websensor" / "websensor", *words[1:]], "websensor").wait_log("uplink.connected")

    def post(token, topic):
        argv = ["curl", "-s", "-m", "10", "--cacert", folder / "ca.crt", "-H", f"Authorization: Bearer {token}", "-d", "1", "-o", os.devnull,
                "-w", "%{http_code}", f"https://localhost:{port}/topics/{topic}"]
        return int(subprocess.run(argv, capture_output=True, text=True, check=False).stdout)
    assert [post(first, "sensors/a"), post(first, "x"), post(other, "sensors/anna/1"), post(other, "sensors/a"), post("no", "sensors/a")] == [
        200, 403, 200, 403, 401]


def test_tokens_and_certificates_of_ones_own(tmp_path, client_id, server_id):
    tokens = tmp_path / "websensor-tokens"
    tokens.write_text("by-hand sensors/hand\n# Anna\n0123456789abcdef a\nby-hand sensors/more")
    (tmp_path / "bin").mkdir()
    qr = tmp_path / "bin" / "qrencode"
    qr.write_text("#!/bin/sh\necho \"QR $*: $(cat)\"\n")
    qr.chmod(0o755)
    text = set_up(tmp_path, "--new-token", "Anna", "--cert", server_id.cert, "--key", server_id.key,
                  env={"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"})
    token = token_of(text)
    assert re.search(rf"^QR -t ANSIUTF8: https://.*#{token}$", text, re.M) and "ca.crt" not in text
    assert tokens.read_text() == f"by-hand sensors/hand\nby-hand sensors/more\n# Anna\n{token} a\n"
    assert not (tmp_path / "websensor.key").exists() and f":{server_id.key}\n" in (tmp_path / "https.conf").read_text()
    for words, complaint in ((["x", "a#"], "a#"), (["x", "+a"], "+a"), (["--port", "0"], "--port"), (["--port", "x"], "--port"),
                             (["--new-token"], "which NAME"), (["--cert", server_id.cert], "--key"), (["--cert", "/no", "--key", "/no"], "/no"),
                             (["--cert", server_id.cert, "--key", client_id.key], "not the key"), (["--nonsense"], "--nonsense"),
                             (["Anna", "$share/a/b"], "$share")):
        assert complaint in set_up(tmp_path, *words, ok=False)
    assert token in tokens.read_text()
