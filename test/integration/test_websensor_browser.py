"""The phone page in a real browser, and its rule against the one in C. Needs Chromium, node and the packages of test/package.json."""

import gzip
import json
import math
import os
import pathlib
import shutil
import subprocess

import pytest
from harness.process import TOP, wait_until
from test_websensor import STORE, websensor  # noqa: F401 (a fixture)

NODE = shutil.which("node")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
RECORDINGS = pathlib.Path(os.environ.get("MQA_RECORDINGS", TOP / ".." / "shared" / "data" / "walking"))

needs_browser = pytest.mark.skipif(
    not (NODE and CHROMIUM and (TOP / "test" / "node_modules" / "playwright-core").exists()),
    reason="no Chromium, node or playwright-core (npm ci in test/)")


def walk(seconds=30):
    """A recorded walk when there is one, else a made-up one: [[x, y, z], ...] at 50 Hz."""
    path = RECORDINGS / "sthar50.csv.gz"
    if not path.exists():
        return [[1.0 * math.sin(2 * math.pi * 0.9 * i / 50), 0.5, 9.81 + 3 * math.sin(2 * math.pi * 1.8 * i / 50)]
                for i in range(seconds * 50)]
    with gzip.open(path, "rt") as f:
        next(f)
        sessions = {}
        for line in f:
            _, x, y, z, label, _, session = line.strip().split(",")
            if label.startswith("walking"):
                sessions.setdefault(session, []).append([float(x), float(y), float(z)])
    return max(sessions.values(), key=len)[:seconds * 50]


def drive(script, *arguments, **env):
    """What a script of test/browser prints."""
    argv = [NODE, TOP / "test" / "browser" / script, *map(str, arguments)]
    p = subprocess.run(argv, capture_output=True, text=True, timeout=150, env={**os.environ, **env, "CHROMIUM": CHROMIUM})
    assert p.returncode == 0, p.stderr
    return json.loads(p.stdout.splitlines()[-1])


def browse(url, samples, tmp_path, seconds, *offline, **env):
    path = tmp_path / "samples.json"
    path.write_text(json.dumps(samples))
    return drive("websensor.mjs", url, path, seconds, *offline, **env)


@needs_browser
@pytest.mark.timeout(200)
def test_walking_with_a_phone(broker, websensor, server_id, tmp_path, request):  # noqa: F811
    """It walks, it says so, it ends in SQLite; while the network is away batches wait, and then each arrives once."""
    long = request.config.getoption("--long")
    tokens = tmp_path / "tokens"
    tokens.write_text("page $aws/things/+/shadow/update\n")
    b = broker(options=STORE)
    w = websensor(b.port, identity=server_id, options=[f"tokens {tokens}"])
    seconds, offline = (60, (15, 45)) if long else (22, (9, 16))
    # the recorded walk pauses after 13 s
    seen = browse(f"https://localhost:{w.https}/#page", walk(13), tmp_path, seconds, *offline)
    assert seen["errors"] == [] and seen["outside"] == [] and seen["wide"] <= 0, seen
    assert "walking" in seen["verdicts"] and seen["link"] == "connected" and seen["waiting"] == 0, seen
    assert seen["sent"] >= seconds - 5
    b.store.wait_count(seen["sent"], 10, "sensor = 'browser'")
    messages = b.store.messages("browser")
    times = [m["time"] for m in messages]
    assert len(messages) == seen["sent"] and len(set(times)) == len(times) and times == sorted(times)
    assert sum(m["walking"] for m in messages) >= len(messages) / 4  # from the first whole window on, and a slow browser drops samples
    assert all(80 < m["cadence"] < 140 for m in messages if m["walking"])


@needs_browser
def test_the_phone_decides(broker, websensor, server_id, tmp_path):  # noqa: F811
    b = broker(options=STORE)
    w = websensor(b.port, identity=server_id)
    seen = browse(f"https://localhost:{w.https}/", walk(), tmp_path, 9, MODE="proc", DEVICE="decider")
    assert seen["errors"] == [] and seen["waiting"] == 0, seen
    b.store.wait_count(3, 10, "sensor = 'decider'")
    assert any(m["walking"] for m in b.store.messages("decider"))


@needs_browser
def test_states(plain_broker, websensor, server_id):  # noqa: F811
    """The page says what is wrong where it cannot work, and does not pretend to run."""
    w = websensor(plain_broker().port, identity=server_id)
    seen = drive("websensor_states.mjs", f"https://localhost:{w.https}/", w.http)
    words = {"insecure": "HTTPS only", "insecurePressed": "HTTPS only", "denied": "denied", "failed": "denied",
             "noApi": "no motion sensors", "badName": "letters, digits", "noSensor": "does not report any motion"}
    for state, text in words.items():
        says = seen[state]
        assert text in says["notice"] and says["kind"] == "problem" and says["errors"] == [], (state, says)
        assert says["secure"] == (not state.startswith("insecure")) and says["sent"] == "0", (state, says)
        running = state == "noSensor"  # it goes on listening
        assert (says["button"], says["verdict"]) == (("Stop", "listening") if running else ("Start", "stopped")), (state, says)


@pytest.mark.skipif(not NODE, reason="no node")
def test_both_rules_agree(build, tmp_path):
    """walking.js and walking.c give the same verdict, cadence and confidence for windows of the recordings."""
    tool = build / "test" / "bench" / "walking_windows"
    if not tool.exists():
        pytest.skip(f"{tool} is not built")
    files = sorted(RECORDINGS.glob("*.csv.gz"))
    windows = []
    for path in files:
        with gzip.open(path, "rt") as f:
            next(f)
            rows = [line.split(",")[1:4] for line in f]
        for start in range(0, len(rows) - 256, max(256, len(rows) // 200)):
            windows.append([math.hypot(*map(float, row)) for row in rows[start:start + 256]])
    if not files:
        windows = [[9.81 + a * math.sin(2 * math.pi * hz * i / 50) for i in range(n)] for a in (0, .5, 1, 2, 4, 8)
                   for hz in (.8, 1.2, 1.5, 1.9, 2.2, 2.6, 3.2) for n in (100, 128, 200, 256)]
    lines = "\n".join(" ".join(repr(v) for v in w) for w in windows) + "\n"
    script = ("const W = require(process.argv[1]);"
              "for (const line of require('fs').readFileSync(0, 'utf8').trim().split('\\n')) {"
              "const v = W.judge(line.split(' ').map(Number));"
              "console.log(v ? `${v.walking ? 1 : 0} ${v.cadence.toFixed(3)} ${v.confidence.toFixed(6)}` : '-'); }")
    js = subprocess.run([NODE, "-e", script, TOP / "websensor" / "page" / "walking.js"], input=lines, text=True,
                        capture_output=True, check=True).stdout
    c = subprocess.run([tool], input=lines, text=True, capture_output=True, check=True).stdout
    assert len(c.splitlines()) == len(windows) and c == js
    assert "1 " in c and "0 " in c
