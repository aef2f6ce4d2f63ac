"""Configuration: mistakes stop the broker with one clear line, an unreachable cloud does not; SIGHUP; conditions of the host."""

import os
import pathlib
import re
import socket
import stat
import subprocess
import sys
import time

import pytest
from harness.process import free_port, wait_until


def complaints(text):
    return [line for line in text.splitlines() if re.search(r"mosquitto-aws|config\.invalid|Error: mosquitto", line)]


@pytest.mark.parametrize("option, words", [
    ("nonsense 1", "nonsense"),
    ("iot_publish_rate fast", "iot_publish_rate"),
    ("iot_connections 0", "iot_connections"),
    ("iot_connections 100000", "iot_connections"),
    ("iot_max_inflight 0", "iot_max_inflight"),
    ("iot_protocol mqttv4", "iot_protocol"),
    ("iot_keepalive 5parsecs", "iot_keepalive"),
    ("iot_keepalive 21m", "iot_keepalive"),
    ("iot_endpoint host:99999", "iot_endpoint"),
    ("topic a/#/b out 1", "topic"),
    ("topic a sideways 1", "topic"),
    ("topic a out 3", "topic"),
    ("topic a out 1 pre+fix/", "topic"),
    ("store a/b+", "store"),
    ("store a colour=red", "store"),
    ("store a sensor=topic(0)", "store"),
    ("store a/+ sensor=topic(3)", "2 levels"),
    ("sqlite_retention 30", "sqlite_retention.*unit"),
    ("spool_full perhaps", "spool_full"),
    ("spool_max_size 12parsecs", "spool_max_size"),
    ("spool_sync sometimes", "spool_sync"),
    ("sys_interval -1", "sys_interval"),
    ("sqlite_file /nonexistent/dir/store.db", "sqlite_file"),
    ("spool_dir /nonexistent/dir/spool", "spool_dir|/nonexistent/dir/spool"),
    ("config_file /nonexistent/file", "config_file|/nonexistent/file"),
    ("dynamodb_time_type X", "dynamodb_time_type"),
    ("will a/#/b", "will"),
    ("will $share/g/a", "will"),
    ("will $SYS/#", "will"),
    ("local_broker host:99999", "local_broker"),
    ("local_password x", "local_username"),
    ("iot_notifications up/#", "iot_notifications"),
    ("dynamodb_table no table", "dynamodb_table"),
])
def test_mistakes_stop_the_broker_with_one_line(broker, option, words):
    b = broker(options=["store x", option], start=False)
    code, log = b.start_refused()
    assert code != 0
    lines = [line for line in complaints(log) if re.search(words, line)]
    assert len(lines) == 1, log


def test_unreadable_files_are_named(broker, client_id, pki, tmp_path):
    good = {"iot_certfile": client_id.cert, "iot_keyfile": client_id.key, "iot_cafile": pki.ca}
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("this is no PEM\n")
    for wrong in good:
        for path in ("/nonexistent.pem", garbage):
            files = {**good, wrong: path}
            b = broker(options=["iot_endpoint localhost:1", "topic # out 1", *[f"{k} {v}" for k, v in files.items()]],
                       start=False, name=f"b-{wrong}-{len(str(path))}")
            code, log = b.start_refused()
            assert code != 0 and f"option {wrong}: {path}: " in log, log
    b = broker(options=["iot_endpoint localhost:1", "topic # out 1", f"iot_certfile {client_id.cert}",
                        f"iot_keyfile {client_id.cert}", f"iot_cafile {client_id.cert}"], start=False, name="b-same")
    assert f"option iot_keyfile: {client_id.cert}: " in b.start_refused()[1]
    more = tmp_path / "more.conf"
    more.write_text("topic # out 1\niot_endpoint localhost:1\n"
                    f"iot_certfile {client_id.cert}\niot_keyfile /nonexistent.pem\n")
    b = broker(options=[f"config_file {more}"], start=False, name="b-file")
    assert f"{more}:4: option iot_keyfile: /nonexistent.pem: " in b.start_refused()[1]
    b = broker(options=["store #", "dynamodb_table readings", "aws_region eu-west-1", "aws_role_alias a",
                        "aws_credentials_endpoint localhost:1", f"iot_certfile {client_id.cert}", "iot_keyfile /nonexistent.pem"],
               start=False, name="b-role")
    assert ": option iot_keyfile: /nonexistent.pem: " in b.start_refused()[1]


@pytest.mark.parametrize("program, option, more", [
    ("websensor/websensor", "keyfile", "certfile {cert}"),
    ("websensor/websensor", "certfile", "keyfile {key}"),
    ("websensor/websensor", "tokens", "http_listener {port}"),
    ("websensor/websensor", "broker_cafile", "http_listener {port}"),
    ("mqttsn/mqttsn-gateway", "broker_keyfile", "listener {port}\nbroker_certfile {cert}"),
    ("mqttsn/mqttsn-gateway", "predefined_topics", "listener {port}"),
    ("mqttsn/mqttsn-gateway", "clients_file", "listener {port}"),
    ("mqttsn/mqttsn-gateway", "dtls_psk_file", "listener {port}"),
    ("mqttsn/mqttsn-gateway", "dtls_keyfile", "listener {port}\ndtls_listener {other}\ndtls_certfile {cert}"),
    ("mqttsn/mqttsn-gateway", "dtls_cafile",
     "listener {port}\ndtls_listener {other}\ndtls_certfile {cert}\ndtls_keyfile {key}"),
    ("mqttsn/mqttsn-gateway", "log_dest file", "listener {port}"),
])
def test_companions_name_unreadable_files(build, client_id, tmp_path, program, option, more):
    """The option, and where it stands."""
    conf = tmp_path / "companion.conf"
    head = more.format(cert=client_id.cert, key=client_id.key, port=free_port(), other=free_port())
    conf.write_text(f"{head}\n\n{option} /nonexistent/file\n")
    run = subprocess.run([build / program, "-c", conf], capture_output=True, text=True, timeout=20)
    line = len(head.splitlines()) + 2
    assert run.returncode == 1
    assert run.stderr == (f"{program.split('/')[1]}: {conf}:{line}: option {option.split()[0]}: "
                          "/nonexistent/file: No such file or directory\n")


def test_key_of_another_certificate(broker, client_id, pki):
    other = pki.client("other")
    b = broker(options=["iot_endpoint localhost:1", "topic # out 1", f"iot_certfile {client_id.cert}",
                        f"iot_keyfile {other.key}", f"iot_cafile {pki.ca}"], start=False)
    code, log = b.start_refused()
    assert code != 0 and "iot_keyfile" in log or str(other.key) in log


def test_endpoint_without_certificate(broker):
    code, log = broker(options=["iot_endpoint localhost:1", "topic # out 1"], start=False).start_refused()
    assert code != 0 and re.search("iot_certfile|iot_keyfile", log)


def test_routes_without_a_sink_are_said(broker, tmp_path):
    """A topic line without endpoint or a store line without store would lose messages in silence: refused, or said."""
    b = broker(options=["topic a/# out 1", f"spool_dir {tmp_path}/s"], start=False)
    b.write_config()
    b.process.start()
    wait_until(lambda: b.process.lines("iot_endpoint") or not b.process.running())
    assert b.process.lines("iot_endpoint"), b.log


def test_starts_quickly_without_the_cloud(broker, client_id, pki):
    for host in ("localhost:%d" % free_port(), "no-such-host.invalid", "192.0.2.1:8883"):
        b = broker(options=[f"iot_endpoint {host}", f"iot_certfile {client_id.cert}", f"iot_keyfile {client_id.key}",
                            f"iot_cafile {pki.ca}", "topic # out 1", "store #"], name=f"b-{host[:5]}", start=False)
        b.set_option("spool_dir", b.directory / f"spool-{host[:5]}")
        b.set_option("sqlite_file", b.directory / f"{host[:5]}.db")
        b.store.path = b.directory / f"{host[:5]}.db"
        start = time.monotonic()
        b.start()
        assert time.monotonic() - start < 3
        b.publish("a", b"1")
        b.store.wait_count(1)
        wait_until(lambda: b.sys("iotcore/lag") == "1")
        start = time.monotonic()
        assert b.stop() == 0
        assert time.monotonic() - start < 6


def test_listener_that_cannot_be_opened(broker, gate, client_id):
    """The broker ends without a word to its plugins: our threads end before the libraries that they use are torn down."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        b = broker(options=[*gate().plugin_options(client_id), "topic # out 1", "store #"], start=False,
                   conf=f"listener {taken.getsockname()[1]} 127.0.0.1")
        for _ in range(12):
            code, log = b.start_refused()
            assert code == 1 and "plugin.started" in log


def test_too_little_memory_is_an_error(broker, gate, client_id, started):
    """Where the system does not allow our threads, the broker says so and does not come up; no abort() of a library."""
    if started.sanitizer.kinds:
        pytest.skip("a sanitizer needs more")
    options = [*gate().plugin_options(client_id), "topic # out 1", "store #", "spool_max_size 1M"]
    for megabytes in range(24, 96, 8):
        b = broker(options=options, start=False, prefix=("prlimit", f"--as={megabytes << 20}"))
        b.write_config()
        b.process.start()
        wait_until(lambda b=b: not b.process.running() or b.process.lines("mosquitto version .* running"))
        code = b.stop()
        assert code == 0 or (code > 0 and b.process.lines("Error|config.invalid|cannot")), (megabytes, code, b.log)


def test_small_limit_for_files(broker):
    """The spool makes do with smaller segments; no SIGXFSZ."""
    b = broker(options=["store #"], prefix=("prlimit", f"--fsize={8 << 20}"))
    b.publish("a", b"1")
    b.store.wait_count(1)


def test_same_plugin_twice(broker, plugin):
    b = broker(options=["store x"], conf=f"plugin {plugin}", start=False)
    code, log = b.start_refused()
    assert code != 0 and "twice" in log


def test_config_file_and_sighup(broker, tmp_path):
    more = tmp_path / "more.conf"
    more.write_text("# routes\nstore a/+\n")
    b = broker(options=[f"config_file {more}", f"sqlite_file {tmp_path}/store.db"])
    b.publish("a/1", b"1")
    b.publish("b/1", b"1")
    b.store.wait_count(1)
    more.write_text("store b/+\n")
    b.reload()
    b.wait_log("config.reloaded")
    b.publish("a/2", b"1")
    b.publish("b/2", b"1")
    b.store.wait_count(2)
    assert {r[2] for r in b.store.rows()} == {"a/1", "b/2"}
    more.write_text("store c/+\nstore d/#/e\n")
    b.reload()
    line = b.wait_log("config.kept")
    assert "more.conf" in line and "2" in line
    b.publish("b/3", b"1")
    b.store.wait_count(3)
    assert b.process.running()


def test_config_file_error_names_file_and_line(broker, tmp_path):
    more = tmp_path / "more.conf"
    more.write_text("\n# comment\nnonsense 1\n")
    code, log = broker(options=[f"config_file {more}"], start=False).start_refused()
    assert code != 0 and re.search(r"more\.conf.*3.*nonsense|nonsense.*more\.conf.*3", log)


def test_rates_change_on_sighup(broker, gate, client_id, tmp_path):
    more = tmp_path / "more.conf"
    more.write_text("iot_publish_rate 2\n")
    g = gate()
    b = broker(options=[*g.plugin_options(client_id), "topic # out 1", f"config_file {more}"])
    g.wait_connected()
    with b.client() as c:
        for i in range(30):
            c.publish("a", b"%d" % i)
    time.sleep(1)
    assert len(g.messages()) < 15
    more.write_text("iot_publish_rate 100\n")
    b.reload()
    g.wait_messages(30, 5)


def test_no_tick_is_an_error(broker):
    """per_listener_settings true on 2.0.11: ticks never come."""
    b = broker(options=["store #"], global_conf="per_listener_settings true")
    version = subprocess.run(["mosquitto", "-h"], capture_output=True, text=True).stdout
    if "2.0.11" in version:
        b.wait_log("(?i)per_listener_settings", 20)
    b.publish("a", b"1")
    b.store.wait_count(1)
    assert b.stop() == 0


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become user mosquitto")
def test_as_user_mosquitto(broker, far_side, pki, tmp_path):
    """As under Debian's unit: started as root, drops to user mosquitto, which owns the spool's parent and may read the key."""
    identity = pki.client("as-user")
    home = tmp_path / "lib"
    home.mkdir()
    for source in (identity.cert, identity.key, identity.ca):
        (home / source.name).write_bytes(source.read_bytes())
        (home / source.name).chmod(0o600)
    subprocess.run(["chown", "-R", "mosquitto:", home], check=True)
    for directory in (tmp_path, *list(tmp_path.parents)[:3]):
        if str(directory) != "/tmp":
            directory.chmod(0o755)
    b = broker(options=[f"iot_endpoint localhost:{far_side.tls_port}", f"iot_certfile {home}/as-user.crt",
                        f"iot_keyfile {home}/as-user.key", f"iot_cafile {home}/ca.crt", "topic # out 1", "store #",
                        f"sqlite_file {home}/store.db", f"spool_dir {home}/spool"], user="mosquitto")
    seen = far_side.recorder("#")
    b.publish("a", b"1")
    seen.wait_messages(1)
    b.store.path = home / "store.db"
    b.store.wait_count(1)
    spool = home / "spool"
    assert spool.owner() == "mosquitto" and stat.S_IMODE(spool.stat().st_mode) == 0o700
    for p in spool.rglob("*"):
        assert not stat.S_IMODE(p.stat().st_mode) & 0o077, p
    b.reload()
    assert b.stop() == 0
    assert not b.process.lines("(?i)permission denied")


def test_key_not_readable_for_the_user(broker, pki, tmp_path):
    if os.getuid() != 0:
        pytest.skip("needs root to become user mosquitto")
    identity = pki.client("hidden")
    for directory in (tmp_path, *list(tmp_path.parents)[:3]):
        if str(directory) != "/tmp":
            directory.chmod(0o755)
    key = tmp_path / "hidden.key"
    key.write_bytes(identity.key.read_bytes())
    key.chmod(0o600)
    spool = tmp_path / "spool"
    spool.mkdir()
    subprocess.run(["chown", "mosquitto:", spool], check=True)
    for source in (identity.cert, identity.ca):
        (tmp_path / source.name).write_bytes(source.read_bytes())
    b = broker(options=["iot_endpoint localhost:1", f"iot_certfile {tmp_path}/hidden.crt", f"iot_keyfile {key}",
                        f"iot_cafile {tmp_path}/ca.crt", "topic # out 1", f"spool_dir {spool}"], user="mosquitto",
               start=False)
    code, log = b.start_refused()
    assert code != 0 and "hidden.key: Permission denied (the broker runs as user mosquitto)" in log


def test_plugin_keeps_nothing_of_the_broker_open(broker, gate, client_id, tmp_path):
    """The plugin's threads have descriptors of their own: none of the broker's sockets and files stays open in them."""
    log = tmp_path / "broker.log"
    g = gate()
    b = broker(options=[*g.plugin_options(client_id), "topic # out 1", "store #"], conf=f"log_dest file {log}")
    g.wait_connected()
    client = b.client("stays")
    b.publish("a", b"1")
    g.wait_messages(1)
    tasks = {t.name: (t / "comm").read_text().strip() for t in pathlib.Path(f"/proc/{b.process.pid}/task").iterdir()}
    ours = [t for t, name in tasks.items() if name == "mosquitto-aws"]
    theirs = b.process.files()
    assert ours and any(link == str(log) for link in theirs.values())
    unshare = "import ctypes; raise SystemExit(ctypes.CDLL(None).close_range(2**31 - 1, 2**31 - 1, 2) != 0)"
    if "thread" in b.sanitizer.kinds or subprocess.run([sys.executable, "-c", unshare], check=False).returncode != 0:
        pytest.skip("threads share one table here")
    rows = [line.split() for line in pathlib.Path(f"/proc/{b.process.pid}/net/tcp").read_text().splitlines()[1:]]
    brokers = {f"socket:[{r[9]}]" for r in rows if r[1].endswith(f":{b.port:04X}")}
    assert len(brokers & set(theirs.values())) >= 2  # the listener and its client
    for task in ours:
        mine = {link for fd, link in b.process.files(task).items() if fd > 2}
        both = mine & {link for fd, link in theirs.items() if fd > 2}
        assert not brokers & mine
        assert {link for link in both if not link.startswith(("anon_inode:", "pipe:", "socket:"))} == {str(tmp_path / "spool")}
    client.close()


def test_threads_and_files_do_not_grow(broker, gate, client_id):
    """Reconnects and reloads leave nothing behind."""
    g = gate()
    b = broker(options=[*g.plugin_options(client_id), "topic # out 1", "store #"])
    g.wait_connected()
    b.publish("a", b"1")
    g.wait_messages(1)

    def use(n):
        for i in range(n):
            g.end("close")
            g.wait_connected(use.connected + 1, 30)
            use.connected += 1
            b.reload()
            b.wait_log("config.reloaded", count=use.connected - 1)
        return b.process.open_files(), len(b.process.threads())
    use.connected = 1
    files, threads = use(1)
    files_after, threads_after = use(3)
    assert files_after <= files + 1 and threads_after <= threads + 1


def test_a_sink_without_lines_is_told(broker, tmp_path):
    """It starts, and says that nothing will come."""
    b = broker(options=[f"sqlite_file {tmp_path}/lonely.db"])
    assert "config.unused" in b.log and "option=sqlite_file missing=store" in b.log


def test_where_relative_paths_went_is_told(broker, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    b = broker(options=["sqlite_file here.db", "store #", f"spool_dir {tmp_path}/spool"])
    assert re.findall(r'config\.relative: .* option=(.*) path="(.*)"', b.log) == [("sqlite_file", f"{tmp_path}/here.db")]
    assert (tmp_path / "here.db").exists()
    b.stop()
    code, log = broker(options=["sqlite_file no/here.db", "store #"], start=False).start_refused()
    assert code != 0 and f"no/here.db: cannot create: No such file or directory (looked for in {tmp_path})" in log


def test_a_line_that_never_matches_is_told(broker, client_id):
    """mosquitto shows plugins none of these; towards the broker a shared subscription is one of AWS's and fine."""
    b = broker(options=["iot_endpoint localhost:1", f"iot_certfile {client_id.cert}", f"iot_keyfile {client_id.key}",
                        "topic $SYS/# out", "topic broker/# out 1 $SYS/", "topic $share/g/a in", "topic $aws/# out"])
    assert re.findall(r'config\.unseen: .*filter="(.*)"', b.log) == ["$SYS/#", "broker/#"]
