"""The Debian packages on a clean Debian 12 under systemd: installed by apt, used as docs/packages.md says, upgraded, removed and purged.
Slow (some minutes): --long."""

import json
import re

import pytest
from harness.machine import Machine, why_not
from harness.process import wait_until
from test_packages import packages  # noqa: F401 (a fixture)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
TOOLS = ["mosquitto-clients", "lighttpd", "lighttpd-mod-deflate", "lighttpd-mod-openssl", "curl", "sqlite3", "openssl", "procps", "logrotate"]
NAMES = "mosquitto-aws-plugin mqttsn-gateway mosquitto-aws-websensor mosquitto-aws-dashboard"
UNITS = "mosquitto websensor mqttsn-gateway"


@pytest.fixture
def machine(packages):  # noqa: F811
    if why_not():
        pytest.skip(why_not())
    m = Machine(TOOLS, packages.values())
    if m.why:
        m.close()
        pytest.skip(m.why)
    yield m
    m.close()


def publish(m, value):
    m.sh(f"""mosquitto_pub -q 1 -t sensors/kitchen/air -m '{{"temperature": {value}}}'""")


def shown(m):
    """sensor -> values, as the dashboard has them"""
    p = m.run("curl -sSf http://127.0.0.1:8090/api/sensors")
    return {s["sensor"]: s["values"] for s in json.loads(p.stdout)} if p.returncode == 0 else {}


def wait_shown(m, value):
    wait_until(lambda: shown(m).get("kitchen") == {"temperature": value}, 20, lambda: shown(m), 0.3)


def active(m):
    return m.run(f"systemctl is-active {UNITS}").stdout.split()


def pids(m):
    return [m.sh(f"systemctl show -p MainPID --value {unit}") for unit in UNITS.split()]


def install(m):
    text = m.sh("apt-get install -y -qq --no-install-recommends /root/debs/*.deb")
    assert "systemctl enable --now websensor" in text
    assert m.run("systemctl is-enabled websensor mqttsn-gateway").stdout.split() == ["disabled", "disabled"]
    assert active(m) == ["active", "inactive", "inactive"]


def use(m):
    """As docs/packages.md says."""
    m.sh("cp /usr/share/doc/mosquitto-aws-plugin/examples/greenhouse.conf /etc/mosquitto/conf.d/ && systemctl restart mosquitto")
    publish(m, 1)
    modes = m.sh("stat -c '%a %U %G %n' /var/lib/mosquitto/aws-spool /var/lib/mosquitto/measurements.db*").splitlines()
    assert modes[0].startswith("700 mosquitto mosquitto") and len(modes) == 4
    assert all(mode.startswith("640 mosquitto mosquitto") for mode in modes[1:]), modes
    m.sh("systemctl enable --now websensor mqttsn-gateway")
    assert "http://127.0.0.1:8090/" in m.sh("mosquitto-aws-dashboard-setup --local")
    wait_shown(m, 1)
    wait_until(lambda: "200" in m.sh("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8080/healthz"), 20, "websensor's broker", 0.3)
    assert "OK" in m.sh("curl -sSf -d '{\"temperature\": 19.5}' 'http://127.0.0.1:8080/topics/sensors/attic/air?qos=1'")
    wait_until(lambda: shown(m).get("attic") == {"temperature": 19.5}, 20, lambda: shown(m), 0.3)
    https(m)
    dashboard_for_the_network(m)
    assert active(m) == ["active"] * 3
    assert "websensor.started" in m.sh("journalctl -u websensor --no-pager -o cat")


def https(m):
    """websensor for phones by one command; key and tokens belong to root."""
    text = m.sh("mosquitto-aws-websensor-setup phone 'sensors/#'")
    token = re.search(r"https://.*:8443/#(\w{32})", text)[1]
    assert m.sh("cd /etc/mosquitto-aws && stat -c '%a %U' websensor.key websensor-tokens").split() == ["600", "root"] * 2
    post = f"curl -sS --cacert /etc/mosquitto-aws/ca.crt -H 'Authorization: Bearer {token}' -d 1 https://localhost:8443/topics/sensors/pot/soil"
    wait_until(lambda: "OK" in m.run(post).stdout, 20, lambda: m.run("journalctl -u websensor --no-pager -o cat").stdout, 0.3)
    m.sh("systemctl reload websensor")
    assert token in m.sh("mosquitto-aws-websensor-setup phone")
    wait_until(lambda: "OK" in m.run(post).stdout, 20, lambda: m.run("journalctl -u websensor --no-pager -o cat").stdout, 0.3)


def dashboard_for_the_network(m):
    """One command, and back again by another."""
    assert "https://" in m.sh("echo secret | mosquitto-aws-dashboard-setup anna")
    get = "curl -s -o /dev/null -w '%{http_code}' --cacert /etc/mosquitto-aws/ca.crt https://localhost:8090/"
    wait_until(lambda: m.run(f"{get} -u anna:secret").stdout == "200", 20, lambda: m.run("journalctl -u lighttpd --no-pager").stdout, 0.3)
    assert m.sh(get) == "401" and m.sh("stat -c '%a %G' /etc/mosquitto-aws/dashboard.users") == "640 www-data"
    m.sh("mosquitto-aws-dashboard-setup")  # renews
    wait_until(lambda: m.run(f"{get} -u anna:secret").stdout == "200", 20, "lighttpd", 0.3)
    m.sh("mosquitto-aws-dashboard-setup --local")
    wait_shown(m, 1)


def another_user_reads(m):
    """Also while the broker is away, after a crash, and when the log was rotated."""
    m.sh("systemctl stop mosquitto")
    wait_shown(m, 1)
    m.sh("systemctl start mosquitto")
    publish(m, 2)
    wait_shown(m, 2)
    m.sh("pid=$(systemctl show -p MainPID --value mosquitto); kill -9 $pid; while kill -0 $pid 2>/dev/null; do sleep 0.1; done")
    wait_shown(m, 2)
    wait_until(lambda: active(m)[0] == "active", 20, "systemd to start mosquitto again", 0.3)
    publish(m, 3)
    wait_shown(m, 3)


def sandbox(m):
    def exposure():
        return float(m.sh("systemd-analyze security --no-pager mosquitto | tail -1").split()[-3])
    assert exposure() > 9
    m.sh("install -D -m 644 /usr/share/mosquitto-aws/systemd/mosquitto-sandbox.conf /etc/systemd/system/mosquitto.service.d/sandbox.conf && "
         "systemctl daemon-reload && systemctl restart mosquitto")
    assert exposure() < 2
    assert m.run("ps -o user:20,group:20 --no-headers -C mosquitto").stdout.split() == ["mosquitto", "mosquitto"]
    another_user_reads(m)
    m.sh("systemctl reload mosquitto && logrotate -f /etc/logrotate.d/mosquitto")
    publish(m, 4)
    wait_shown(m, 4)
    assert "config.reloaded" in m.sh("zcat -f /var/log/mosquitto/mosquitto.log*")


def upgrade(m):
    before = pids(m)
    m.sh("echo 'max_body 64k' >>/etc/mosquitto-aws/websensor.conf")
    m.sh("""cd /root && mkdir up && for deb in debs/*.deb; do
                dpkg-deb -R $deb up/x && sed -i 's/^Version: .*/Version: 99/' up/x/DEBIAN/control &&
                dpkg-deb --root-owner-group -b up/x up/$(dpkg-deb -f $deb Package).deb && rm -r up/x || exit 1
            done""")
    m.sh("apt-get install -y -qq --no-install-recommends /root/up/*.deb")
    wait_until(lambda: active(m) == ["active"] * 3, 20, lambda: active(m), 0.3)
    assert not set(before) & set(pids(m))
    assert "max_body 64k" in m.sh("cat /etc/mosquitto-aws/websensor.conf")
    publish(m, 5)
    wait_shown(m, 5)


def remove(m):
    assert "greenhouse.conf still names the plugin" in m.sh(f"apt-get remove -y -qq {NAMES}")
    assert m.run("systemctl is-active websensor mqttsn-gateway").stdout.split() == ["inactive", "inactive"]
    m.sh("test -e /etc/mosquitto-aws/websensor.conf && test -e /var/lib/mosquitto/aws-spool")
    m.sh("rm /etc/mosquitto/conf.d/greenhouse.conf && systemctl restart mosquitto lighttpd")
    m.sh(f"apt-get purge -y -qq {NAMES}")
    assert m.sh("ls /etc/lighttpd/conf-available /etc/lighttpd/conf-enabled /etc/mosquitto-aws").count("dashboard") == 3  # .crt .key .for
    m.sh("test ! -e /etc/systemd/system/websensor.service.d && test ! -e /etc/mosquitto-aws/websensor-tokens")
    m.sh("rm /etc/mosquitto-aws/websensor.key && rm -r /etc/mosquitto-aws")  # the user's own
    left = m.sh("find / -xdev \\( -path /root -o -path /proc -o -path /sys -o -path /var/cache/apt \\) -prune -o "
                "\\( -name '*mosquitto?aws*' -o -name '*websensor*' -o -name '*mqttsn*' -o -name aws-spool \\) -print")
    assert left == "" and active(m)[0] == "active"
    m.sh("test -s /var/lib/mosquitto/measurements.db")
    assert m.run("systemctl --failed --no-legend --no-pager").stdout.strip() == ""


def test_packages_on_a_clean_machine(machine):
    install(machine)
    use(machine)
    assert set(shown(machine)) == {"kitchen", "attic", "pot"}
    sandbox(machine)
    upgrade(machine)
    remove(machine)
