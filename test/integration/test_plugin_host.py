"""The plugin in the test host (test/host), which drives its entry points from one thread as the broker does. In the tsan and asan
presets both are instrumented: this is where the plugin's threads are checked. Run by ctest as host/plugin."""

import subprocess

import pytest
from harness.process import wait_until


@pytest.fixture
def host(build, plugin, started, tmp_path):
    """host(options, *commands): runs the commands; output lines by their first word."""
    def run(options, *commands, timeout=90):
        lines = [f"option {o}" for o in options] + list(commands)
        p = subprocess.run([build / "test" / "host" / "plugin_host", plugin], input="\n".join(lines) + "\n", text=True,
                           capture_output=True, timeout=timeout,
                           env={"PATH": "/usr/bin:/bin", "UV_THREADPOOL_SIZE": "1", **started.sanitizer.env(preload=False)})
        reports = "\n".join(started.sanitizer.reports())
        assert p.returncode == 0, f"exit {p.returncode}\n{p.stdout[-4000:]}\n{p.stderr[-4000:]}\n{reports}"
        found = {}
        for line in p.stdout.splitlines():
            word, _, rest = line.partition(" ")
            found.setdefault(word, []).append(rest)
        found["sanitizer"] = started.sanitizer.kinds
        return found
    return run


def joined(out):
    """All threads of the plugin have ended. libuv's pool (here: of one thread) belongs to the process and stays, and so does
    TSan's own thread."""
    others = 2 if "thread" in out["sanitizer"] else 1
    return out["cleanup"] == ["0"] and int(out["threads"][0]) <= 1 + others and "registered" not in out


def options(tmp_path, *more):
    return [f"spool_dir {tmp_path}/spool", "sys_interval 100ms", *more]


def test_start_and_stop(host, tmp_path):
    out = host(options(tmp_path, f"sqlite_file {tmp_path}/store.db", "store #"), "init", "tick 50", "cleanup")
    assert out["init"] == ["0"] and joined(out)


def test_wrong_option_is_refused_and_cleaned_up(host, tmp_path):
    out = host(options(tmp_path, "nonsense 1"), "init")
    assert out["init"] != ["0"]
    assert any("nonsense" in line for line in out["log"])


def test_cloud_unreachable(host, tmp_path, client_id):
    out = host(options(tmp_path, "iot_endpoint localhost:1", f"iot_certfile {client_id.cert}", f"iot_keyfile {client_id.key}",
                       f"iot_cafile {client_id.ca}", "topic # out 1"),
               "init", "burst 500 1 a/b", "tick 300", "reload", "tick 100", "cleanup")
    assert out["burst"] == ["500 0"] and joined(out)


def test_everything_at_once(host, tmp_path, far_side, client_id):
    """Forwarding, storing, commands from above, reload in the middle, and a stop while messages are on their way."""
    seen = far_side.recorder("up/#")
    with far_side.client("cloud") as cloud:
        for i in range(20):
            cloud.publish(f"down/{i}", b"command", retain=True)
    lines = options(tmp_path, *far_side.plugin_options(client_id), "iot_connections 2", "topic up/# out 1", "topic down/# in 1",
                    "store up/+/x", f"sqlite_file {tmp_path}/store.db")
    out = host(lines, "init", "until 20 15000", "burst 2000 1 up/a/x", "tick 200", "reload", "burst 2000 0 up/b/y",
               "message 2 up/c/x {\"v\":1.50}", "tick 1500", "burst 1000 1 up/a/x", "cleanup")
    assert out["until"] == ["20"]
    assert out["burst"] == ["2000 0", "2000 0", "1000 0"]
    assert joined(out)
    assert sum(line.startswith("down/") for line in out["published"]) == 20
    first = len(seen.messages)
    # what had not left at the end leaves after the next start
    out = host(lines, "init", "tick 2000", "cleanup")
    wait_until(lambda: len({(p.topic, p.payload) for p in seen.messages}) >= 2000 + 2000 + 1, 10,
               f"all messages; {first} in the first run, {len(seen.messages)} now")


def test_messages_that_come_alone(host, tmp_path, far_side, client_id):
    """The broker's thread borrows the loop for them while the loop's thread deals with acknowledgements and timers."""
    seen = far_side.recorder("up/#")
    lines = options(tmp_path, *far_side.plugin_options(client_id), "topic up/# out 1", "store #", f"sqlite_file {tmp_path}/store.db")
    alone = [c for i in range(60) for c in (f"message 1 up/a {i}", f"tick {i % 4}")]
    out = host(lines, "init", "tick 500", *alone, "burst 200 1 up/b", *alone, "tick 500", "cleanup")
    assert joined(out)
    wait_until(lambda: len(seen.messages) >= 320, 10, lambda: f"320 messages; {len(seen.messages)} came")
    assert [p.payload for p in seen.messages if p.topic == "up/a"] == 2 * [str(i).encode() for i in range(60)]


def test_messages_that_come_alone_and_are_refused(host, tmp_path, far_side, client_id):
    """What IoT Core would not take is met by the broker's thread, and set aside by the loop's, which has the files."""
    seen = far_side.recorder("up/#")
    lines = options(tmp_path, *far_side.plugin_options(client_id), "topic up/# out 1")
    alone = [c for i in range(20) for c in (f"message 1 up/{256 * 'x'} {i}", "tick 2", f"message 1 up/a {i}", "tick 2")]
    out = host(lines, "init", "tick 500", *alone, "tick 200", "cleanup")
    assert joined(out)
    assert len(list((tmp_path / "spool" / "rejected").glob("*-iotcore.json"))) == 20
    wait_until(lambda: len(seen.messages) >= 20, 10, lambda: f"20 messages; {len(seen.messages)} came")
    assert [p.payload for p in seen.messages] == [str(i).encode() for i in range(20)]


def test_two_sinks_and_a_second_start(host, tmp_path):
    lines = options(tmp_path, "store a/+", f"sqlite_file {tmp_path}/store.db")
    for _ in range(2):
        out = host(lines, "init", "burst 300 1 a/s", "cleanup")
        assert out["burst"] == ["300 0"]
    host(lines, "init", "tick 1000", "cleanup")
    rows = subprocess.run(["sqlite3", "-readonly", tmp_path / "store.db", "select count(*) from measurement"], text=True,
                          capture_output=True, check=True)
    assert rows.stdout.strip() == "600"
