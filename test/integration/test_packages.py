"""The Debian packages that cpack makes: contents, control data, maintainer scripts, lintian."""

import re
import shutil
import subprocess

import pytest

PACKAGES = {
    "mosquitto-aws-plugin": ["/usr/lib/mosquitto-aws/mosquitto_aws.so", "/usr/share/man/man5/mosquitto_aws.5.gz",
                             "/usr/share/mosquitto-aws/certs/provision", "/usr/share/mosquitto-aws/certs/provision.d/parts.sh",
                             "/usr/share/mosquitto-aws/certs/check", "/usr/share/mosquitto-aws/systemd/mosquitto-sandbox.conf",
                             "/usr/share/man/man8/mosquitto-aws-provision.8.gz",
                             "/usr/share/doc/mosquitto-aws-plugin/troubleshooting.md",
                             "/usr/share/doc/mosquitto-aws-plugin/examples/greenhouse.conf"],
    "mqttsn-gateway": ["/usr/sbin/mqttsn-gateway", "/usr/lib/systemd/system/mqttsn-gateway.service",
                       "/etc/mosquitto-aws/mqttsn-gateway.conf", "/usr/share/man/man8/mqttsn-gateway.8.gz"],
    "mosquitto-aws-websensor": ["/usr/sbin/websensor", "/usr/lib/systemd/system/websensor.service",
                                "/etc/mosquitto-aws/websensor.conf",
                                "/usr/share/mosquitto-aws/systemd/websensor-https.conf", "/usr/share/man/man8/websensor.8.gz",
                                "/usr/sbin/mosquitto-aws-websensor-setup", "/usr/share/man/man8/mosquitto-aws-websensor-setup.8.gz"],
    "mosquitto-aws-dashboard": ["/usr/lib/mosquitto-aws/dashboard.cgi", "/usr/share/mosquitto-aws/dashboard/index.html",
                                "/etc/mosquitto-aws/dashboard.conf", "/usr/share/man/man8/dashboard.cgi.8.gz",
                                "/usr/sbin/mosquitto-aws-dashboard-setup", "/usr/share/mosquitto-aws/lighttpd-dashboard.conf",
                                "/usr/share/man/man8/mosquitto-aws-dashboard-setup.8.gz"],
}


def output(*argv):
    return subprocess.run([str(a) for a in argv], check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.fixture(scope="module")
def packages(build, tmp_path_factory):
    """name -> .deb, of every package"""
    cache = (build / "CMakeCache.txt").read_text()
    if re.search(r"^MQA_SANITIZE:\w+=.", cache, re.M):
        pytest.skip("packages are not made with sanitizers")
    directory = tmp_path_factory.mktemp("packages")
    p = subprocess.run(["cpack", "--config", build / "CPackConfig.cmake", "-B", directory], capture_output=True, text=True,
                       timeout=280)
    assert p.returncode == 0, p.stdout + p.stderr
    made = {path.name.split("_")[0]: path for path in directory.glob("*.deb")}
    assert set(made) == set(PACKAGES)
    yield made
    shutil.rmtree(directory, ignore_errors=True)


def contents(deb):
    """path -> (mode, owner)"""
    rows = [line.split(None, 5) for line in output("dpkg-deb", "-c", deb).splitlines()]
    return {row[5][1:].split(" -> ")[0]: (row[0], row[1]) for row in rows}


@pytest.mark.parametrize("name", PACKAGES)
def test_contents(packages, name):
    files = contents(packages[name])
    for path in [*PACKAGES[name], f"/usr/share/doc/{name}/copyright", f"/usr/share/doc/{name}/changelog.gz"]:
        assert path in files
    assert {owner for _, owner in files.values()} == {"root/root"}
    assert not [path for path in files if "/usr/local" in path or path.endswith((".a", ".h"))]
    control = output("dpkg-deb", "-f", packages[name])
    assert ("libmosquitto1" in control) == (name == "mosquitto-aws-plugin") and f"Package: {name}\n" in control and "libc6" in control


@pytest.mark.parametrize("name", PACKAGES)
def test_what_is_in_etc_is_a_conffile(packages, name, tmp_path):
    subprocess.run(["dpkg-deb", "-e", packages[name], tmp_path], check=True)
    conffiles = tmp_path / "conffiles"
    named = conffiles.read_text().split() if conffiles.exists() else []
    assert named == [p for p in contents(packages[name]) if p.startswith("/etc/") and not p.endswith("/")]
    for script in ("postinst", "prerm", "postrm"):
        if (tmp_path / script).exists():
            subprocess.run(["sh", "-n", tmp_path / script], check=True)
            assert "@" not in (tmp_path / script).read_text().replace('"$@"', "")


def test_descriptions(packages):
    synopses = {output("dpkg-deb", "-f", deb, "Description").splitlines()[0] for deb in packages.values()}
    assert len(synopses) == len(PACKAGES) and all(20 < len(s) < 80 for s in synopses)


@pytest.fixture(scope="module")
def root(packages, tmp_path_factory):
    """Everything unpacked, with mosquitto's own unit and the sandbox for it."""
    root = tmp_path_factory.mktemp("root")
    for deb in packages.values():
        subprocess.run(["dpkg-deb", "-x", deb, root], check=True)
    dropins = root / "etc/systemd/system/mosquitto.service.d"
    dropins.mkdir(parents=True)
    shutil.copy(root / "usr/share/mosquitto-aws/systemd/mosquitto-sandbox.conf", dropins / "sandbox.conf")
    shutil.copy("/lib/systemd/system/mosquitto.service", root / "usr/lib/systemd/system/")
    (root / "bin").mkdir(exist_ok=True)
    shutil.copy("/usr/sbin/mosquitto", root / "usr/sbin/")
    shutil.copy("/bin/kill", root / "bin/")
    return root


@pytest.mark.parametrize("tool", ["provision", "check", "dev-ca"])
def test_tools_run_by_name(root, tool):
    assert "usage: " in output(root / f"usr/sbin/mosquitto-aws-{tool}", "--help")


@pytest.mark.parametrize("unit", ["mqttsn-gateway", "websensor"])
def test_units_start_what_is_installed(root, unit):
    text = (root / f"usr/lib/systemd/system/{unit}.service").read_text()
    program, conf = re.search(r"^ExecStart=(\S+) -c (\S+)", text, re.M).groups()
    assert (root / program.lstrip("/")).exists() and (root / conf.lstrip("/")).exists()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
@pytest.mark.parametrize("unit", ["mqttsn-gateway", "websensor", "mosquitto"])
def test_units_are_valid_and_closed(root, unit):
    """systemd finds nothing wrong, and gives an exposure of 2.0 at most (a unit without a sandbox has 9.6)."""
    p = subprocess.run(["systemd-analyze", "verify", f"--root={root}", "--man=no", "--recursive-errors=no", f"{unit}.service"],
                       capture_output=True, text=True)
    assert p.returncode == 0 and not p.stderr, p.stderr
    text = output("systemd-analyze", "security", "--offline=true", f"--root={root}", "--no-pager", f"{unit}.service")
    assert float(re.search(r"Overall exposure level for \S+: ([\d.]+)", text)[1]) <= 2.0


def test_the_plugin_that_is_packed_runs(packages, started, tmp_path):
    from harness.broker import Broker
    subprocess.run(["dpkg-deb", "-x", packages["mosquitto-aws-plugin"], tmp_path / "root"], check=True)
    b = Broker(tmp_path, tmp_path / "root/usr/lib/mosquitto-aws/mosquitto_aws.so", ["store sensors/#"])
    started.processes.append(b.process)
    b.start()
    b.publish("sensors/1", b"1")
    b.wait_drained("sqlite")


def test_install_upgrade_remove_purge(packages, tmp_path):
    """dpkg's own order in a root of its own: the scripts run, /etc survives removal and goes with purge."""
    root = tmp_path / "root"
    for folder in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers"):
        (root / folder).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    base = ["dpkg", f"--root={root}", "--force-depends", "--force-not-root", "--force-script-chrootless", "--log=/dev/null"]
    names = list(PACKAGES)
    debs = [packages[name] for name in names]
    conf = root / "etc/mosquitto-aws/mqttsn-gateway.conf"
    subprocess.run([*base, "-i", *debs], check=True, capture_output=True)
    conf.write_text("listener 10001\n")
    subprocess.run([*base, "--force-confold", "-i", *debs], check=True, capture_output=True)
    assert conf.read_text() == "listener 10001\n"
    (root / "etc/mosquitto").mkdir()
    (root / "etc/mosquitto/local.conf").write_text("plugin /usr/lib/mosquitto-aws/mosquitto_aws.so\n")
    spool = root / "var/lib/mosquitto/aws-spool"
    spool.mkdir(parents=True)
    measurements = root / "var/lib/mosquitto/measurements.db"
    measurements.touch()
    removed = subprocess.run([*base, "-r", *names], check=True, capture_output=True, text=True)
    assert "local.conf still names the plugin" in removed.stderr
    assert conf.exists() and spool.exists() and not (root / "usr/sbin/mqttsn-gateway").exists()
    subprocess.run([*base, "-P", *names], check=True, capture_output=True)
    assert not conf.exists() and not spool.exists() and measurements.exists()
    assert not (root / "usr/sbin/websensor").exists() and not (root / "etc/mosquitto-aws").exists()


@pytest.mark.skipif(not shutil.which("lintian"), reason="lintian is not installed")
def test_lintian_finds_nothing(packages):
    p = subprocess.run(["lintian", "--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0", *packages.values()],
                       capture_output=True, text=True, timeout=280)
    assert p.returncode == 0, p.stdout + p.stderr
