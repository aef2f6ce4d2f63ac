"""mqttsn-gateway as a server: discovery, forwarders, IPv6, limits, aggregate, status, shutdown, configuration."""

import os
import re
import socket
import struct
import subprocess
import time

import pytest

from harness.process import free_port, wait_until
from mqttsn_client import (ADVERTISE, CONGESTION, CONNACK, DISCONNECT, GWINFO, INVALID_TOPIC_ID, NOT_SUPPORTED, PINGRESP, SEARCHGW,
                           SHORT, Packet, Transport)
from mqttsn_harness import *  # noqa: F403


def test_searchgw_by_unicast(plain_broker, mqttsn, device):
    b = plain_broker()
    g = mqttsn(b, "gateway_id 77")
    d = device(g, "x")
    d.send(SEARCHGW, b"\x00")
    p = d.expect(GWINFO)
    assert p.gateway_id == 77 and len(p.body) == 1


def has_multicast_route():
    """Can this machine send multicast at all?"""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.sendto(b"", ("225.1.1.77", 9))
            return True
        except OSError:
            return False


def test_advertise_and_searchgw_by_multicast(plain_broker, mqttsn):
    if not has_multicast_route():
        pytest.skip("no route for multicast")
    b = plain_broker()
    group, port = "225.1.1.77", free_port()
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((group, port))
    listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + socket.inet_aton("0.0.0.0"))
    listener.settimeout(5)
    udp = free_port()
    g = mqttsn(b, f"listener {udp}", f"advertise_address {group}:{port}", "advertise_interval 1s", "gateway_id 5")
    data, source = listener.recvfrom(100)
    p = Packet(data)
    assert (p.kind, p.gateway_id, p.duration) == (ADVERTISE, 5, 1)
    assert source[1] == udp  # a device learns the gateway's address from it
    # SEARCHGW to the group: answered to who asks, from the listener's port, and to the group
    out.settimeout(5)
    out.sendto(b"\x03\x01\x00", (group, port))
    data, source = out.recvfrom(100)
    assert data == b"\x03\x02\x05" and source[1] == udp
    seen = [Packet(listener.recvfrom(100)[0]).kind for _ in range(3)]
    assert GWINFO in seen and ADVERTISE in seen
    # a group on the listener's own port
    g2 = mqttsn(b, f"listener {port + 1 if port < 32000 else port - 1}",
                f"advertise_address {group}:{port + 1 if port < 32000 else port - 1}", name="same", )
    out.sendto(b"\x03\x01\x00", (group, port + 1 if port < 32000 else port - 1))
    assert out.recvfrom(100)[0] == b"\x03\x02\x01"
    assert g.stop() == 0 and g2.stop() == 0


def test_forwarder(plain_broker, mqttsn, device):
    b = plain_broker()
    g = mqttsn(b)
    seen = b.recorder("from/#")
    shared = Transport(g.port)  # one forwarder, two devices behind it
    one = device(g, "dev1", transport=shared, node=b"\x00\x01").connect()
    two = device(g, "dev2", transport=shared, node=b"\x00\x02").connect()
    one.publish(one.register("from/1"), b"1", 1)
    two.publish(two.register("from/2"), b"2", 2)
    one.subscribe("cmd/1", 1)
    b.publish("cmd/1", b"x")
    assert one.receive().payload == b"x"
    assert sorted(m.topic for m in seen.wait_messages(2)) == ["from/1", "from/2"]
    direct = device(g, "dev3", transport=shared).connect()  # the forwarder itself
    direct.ping()
    g.wait_status(clients=3)
    # nested or broken encapsulation
    for junk in (b"\x05\xfe\x01\x00\x01" * 2 + b"\x02\x16", b"\x03\xfe\x01", b"\x05\xfe\x01\x00\x01", b"\x04\xfe\x01"):
        shared.send(junk)
    direct.ping()
    off = mqttsn(b, "forwarder false", name="off")
    d = device(off, "dev4", node=b"\x01")
    d.send_connect()
    d.quiet(0.5)


def link_local():
    """(address, interface) of this host, or None."""
    out = subprocess.run(["ip", "-6", "-o", "addr", "show", "scope", "link"], capture_output=True, text=True)
    m = re.search(r"\d+: (\S+)\s+inet6 (fe80:\S+)/", out.stdout) if out.returncode == 0 else None
    return (m[2], m[1]) if m else None


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


def test_every_address(plain_broker, mqttsn, device):
    """A listener without an address hears both families, and answers from the address that was spoken to."""
    b = plain_broker()
    port = free_port()
    g = mqttsn(b, f"listener {port}")
    hosts = ["127.0.0.1", "127.0.0.5"]
    hosts += ["::1"] if has_ipv6() else []
    if link_local():
        hosts.append("%s%%%s" % link_local())
    for i, host in enumerate(hosts):
        d = device(port, f"dev{i}", host=host)
        d.transport.socket.connect(d.transport.target)  # the kernel drops answers from other addresses
        d.transport.send = d.transport.socket.send
        d.connect()
        d.publish(d.register("a"), b"x", 1)
    g.wait_status(clients=len(hosts))


def test_max_clients_and_freed_slots(plain_broker, mqttsn, device):
    b = plain_broker()
    g = mqttsn(b, "max_clients 50")
    devices = [device(g, f"dev{i}").connect() for i in range(50)]
    late = device(g, "late")
    for _ in range(3):
        late.connect(code=CONGESTION)
    devices[0].ping()
    for d in devices[:10]:
        d.disconnect()
    for i in range(10):
        device(g, f"new{i}").connect()
    late.connect(code=CONGESTION)
    devices[10].connect()  # a client that is connected may connect again
    for i in range(200):   # slots are freed each time
        devices[11].disconnect()
        devices[11].connect()
    g.wait_status(clients=50)
    # sessions that are kept have a ceiling, too
    for d in devices[10:]:
        d.disconnect()
    for i in range(60):
        d = device(g, f"kept{i}").connect(clean=False)
        d.disconnect()
    g.wait_status(away=50)


@pytest.mark.parametrize("aggregate", ["false", "true"])
def test_one_host_does_not_keep_everybody_out(plain_broker, mqttsn, device, aggregate):
    """A host that says CONNECT with ever new client ids, and will be silent for 18 hours, fills the gateway; others come in at its
    expense, and it not at theirs."""
    g = mqttsn(plain_broker(), "max_clients 20", f"aggregate {aggregate}")
    crowd = Transport(g.port, bind=("127.0.0.2", 0))
    flood = [device(g, f"flood{i}", transport=crowd, node=b"%d" % i) for i in range(30)]
    for d in flood:
        d.send_connect(keepalive=65535)
    g.wait_status(clients=20)
    others = [device(g, f"other{i}", transport=Transport(g.port, bind=(f"127.0.0.{3 + i}", 0))).connect(clean=False) for i in range(10)]
    g.wait_log("mqttsn.crowded")
    flood[29].send_connect(keepalive=65535)
    flood[0].send_connect(keepalive=65535)
    others[0].sleep(60)
    for d in others[1:]:
        d.ping()
    g.wait_status(clients=20)
    device(g, "eleventh", transport=Transport(g.port, bind=("127.0.0.20", 0))).connect(code=CONGESTION)  # nobody has more than half now


def test_aggregate(plain_broker, mqttsn, device):
    b = plain_broker()
    g = mqttsn(b, "aggregate true")
    g.wait_log("uplink.connected")
    g.wait_log("mqttsn.window.* window=20")
    seen = b.recorder("up/#", "will/#", qos=2)
    b.publish("kept/1", b"retained", retain=True)
    devices = [device(g, f"dev{i}").connect(will=(f"will/{i}", b"gone")) for i in range(5)]
    assert b.process.text().count("New client connected") == 3  # uplink, recorder, the publisher, nobody else
    for i, d in enumerate(devices):
        for qos in (0, 1, 2):
            d.publish(d.register(f"up/{i}"), b"%d" % qos, qos)
    assert len(seen.wait_messages(15)) == 15
    # overlapping filters: each gets its own
    devices[0].subscribe("cmd/#", 1)
    devices[1].subscribe("cmd/+", 0)
    devices[2].subscribe("cmd/1", 2)
    b.publish("cmd/1", b"x", 2)
    got = [devices[i].receive() for i in range(3)]
    assert [(m.payload, m.qos) for m in got] == [(b"x", 1), (b"x", 0), (b"x", 2)]
    assert all(d.receive(0.1) is None for d in devices)
    # the same filter twice: retained messages for the late one only
    devices[3].subscribe("kept/#", 1)
    assert devices[3].receive().retain
    devices[4].subscribe("kept/#", 1)
    assert devices[4].receive().payload == b"retained"
    devices[3].quiet(0.2)
    devices[3].unsubscribe("kept/#")
    b.publish("kept/1", b"new", retain=True)
    m = devices[4].receive()
    assert m.payload == b"new" and not m.retain
    devices[3].quiet(0.2)
    devices[4].unsubscribe("kept/#")
    # one goes
    devices[0].disconnect()
    b.publish("cmd/1", b"y", 1)
    assert devices[1].receive().payload == b"y"
    # one vanishes: the gateway publishes its will
    lost = device(g, "lost").connect(will=("will/lost", b"lost", 1), keepalive=1)
    lost.update_will(message=b"updated")
    assert seen.wait_messages(16, 5)[-1].payload == b"updated"


def test_aggregate_waits_for_room(plain_broker, mqttsn, device):
    """More clients than the broker's window (Receive Maximum): they wait, nobody is refused."""
    b = plain_broker(conf="max_inflight_messages 2")
    g = mqttsn(b, "aggregate true")
    g.wait_log("uplink.connected")
    seen = b.recorder("up/#")
    devices = [device(g, f"dev{i}").connect() for i in range(30)]
    topics = [d.register(f"up/{i}") for i, d in enumerate(devices)]
    for round_ in range(5):
        ids = [d.send_publish(t, b"%d" % round_, 1) for d, t in zip(devices, topics)]
        for d, i in zip(devices, ids):
            assert d.expect(0x0d, msg_id=i).code == 0
    assert len(seen.wait_messages(150)) == 150


def test_clients_file(plain_broker, mqttsn, device, tmp_path):
    passwords = tmp_path / "passwords"
    passwords.write_text("")
    for user in ("gw", "one"):
        subprocess.run(["mosquitto_passwd", "-b", passwords, user, f"secret of {user}"], check=True)
    acl = tmp_path / "acl"
    acl.write_text("user gw\ntopic readwrite #\nuser one\ntopic readwrite one/#\n")
    for f in (passwords, acl):
        os.chmod(f, 0o600)
    b = plain_broker(conf=f"password_file {passwords}\nacl_file {acl}")
    b.conf += "\n"
    clients = tmp_path / "clients"
    clients.write_text('dev1 username=one "password=secret of one"\ndev2 username=one password=wrong\n')
    options = ["broker_username gw", 'broker_password secret of gw', f"clients_file {clients}"]
    b.config.write_text(b.config.read_text().replace("allow_anonymous true", "allow_anonymous false"))
    b.process.stop()
    b.process.start()
    b.process.wait_log("running")
    g = mqttsn(b, *options)
    d = device(g, "dev1").connect()
    d.publish(d.register("one/x"), b"x", 1)
    d.publish(d.register("other/x"), b"x", 1, code=NOT_SUPPORTED)
    device(g, "dev2").connect(code=NOT_SUPPORTED)
    other = device(g, "dev3").connect()
    other.publish(other.register("other/x"), b"x", 1)
    g.process.wait_log("mqttsn.link-failed.*not authorized")
    clients.write_text('dev2 username=one "password=secret of one"\n')
    g.process.signal(1)
    g.process.wait_log("mqttsn.reloaded")
    device(g, "dev2").connect()


def test_broker_over_tls(far_side, mqttsn, device, client_id, pki):
    b = far_side
    g = mqttsn(b, f"broker localhost:{b.tls_port}", f"broker_cafile {client_id.ca}", f"broker_certfile {client_id.cert}",
               f"broker_keyfile {client_id.key}")
    seen = b.recorder("a/b")
    d = device(g, "dev1").connect()
    d.publish(d.register("a/b"), b"through tls", 1)
    assert seen.wait_messages(1)[0].payload == b"through tls"
    g.process.wait_log("uplink.connected.*TLS")


def test_status_and_shutdown(plain_broker, mqttsn, device):
    b = plain_broker()
    g = mqttsn(b)
    d = device(g, "dev1").connect()
    d.publish(d.register("a"), b"x", 1)
    s = g.wait_status(clients=1, received=1, links=1)
    assert s["state"] == "online" and s["gateway_id"] == 1
    sleeper = device(g, "dev2").connect(will=("will", b"x"))
    sleeper.sleep(100)
    seen = b.recorder("will", g.status_topic)
    started = time.monotonic()
    assert g.stop() == 0
    assert time.monotonic() - started < 3
    d.expect(DISCONNECT)
    wait_until(lambda: seen.messages and b'"offline"' in seen.messages[-1].payload)
    assert "will" not in seen.topics()


def test_broker_away(plain_broker, mqttsn, device):
    b = plain_broker()
    g = mqttsn(b)
    d = device(g, "dev1").connect()
    topic = d.register("a")
    d.publish(topic, b"x", 1)
    b.stop()
    d.expect(DISCONNECT, timeout=3)
    started = time.monotonic()
    for _ in range(5):
        d.connect(code=CONGESTION)
    assert time.monotonic() - started < 2
    d.send_publish(topic, b"lost", 1)
    d.expect(DISCONNECT)
    b.start()

    def accepted():
        d.send_connect()
        return d.expect(CONNACK).code == 0 or time.sleep(0.2)
    wait_until(accepted, 10)
    d.publish(d.register("a"), b"again", 1)
    # a broker that accepts connections and says nothing
    b.stop()
    d.expect(DISCONNECT, timeout=3)
    with socket.create_server(("127.0.0.1", b.port)):
        d.connect(code=CONGESTION, timeout=12)


def test_command_line(program, build, tmp_path):
    path = build / "mqttsn" / "mqttsn-gateway"

    def run(*arguments):
        return subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, timeout=10)
    r = run("--version")
    assert r.returncode == 0 and re.fullmatch(r"mqttsn-gateway \d+\.\d+\.\d+\n", r.stdout)
    r = run("--help")
    assert r.returncode == 0 and "predefined_topics" in r.stdout and "usage:" in r.stdout
    r = run("--print-config", "--listener", "1234 127.0.0.1", "--aggregate", "true")
    assert r.returncode == 0 and "listener 1234 127.0.0.1\n" in r.stdout and "aggregate true\n" in r.stdout
    conf = tmp_path / "printed.conf"
    conf.write_text(r.stdout)
    assert run("-c", conf, "--print-config").stdout == r.stdout
    for arguments, say in ((["--nonsense", "1"], "nonsense"), (["--max_clients", "0"], "max_clients"),
                           (["-c", "/nonexistent"], "/nonexistent"), (["--dtls_listener", "1234"], "dtls_listener")):
        r = run(*arguments)
        assert r.returncode == 2 and say in r.stderr and r.stderr.count("\n") == 1, r.stderr
    busy = free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", busy))
        r = run("--listener", f"{busy} 127.0.0.1")
        assert r.returncode == 1 and f"127.0.0.1:{busy}" in r.stderr
    r = run("--listener", f"{busy} fe80::1")
    assert r.returncode == 1 and "needs its interface" in r.stderr
    missing = tmp_path / "missing"
    r = run("--listener", f"{free_port()} 127.0.0.1", "--predefined_topics", missing)
    assert r.returncode == 1 and str(missing) in r.stderr
    r = run("--listener", f"{free_port()} 127.0.0.1", "--broker_cafile", missing)
    assert r.returncode == 1 and str(missing) in r.stderr


# What ended other gateways, each a single datagram; none may be noticed by anybody.
KILLERS = [bytes.fromhex("0504040100"),                                    # CONNECT cut short (Paho)
           bytes.fromhex("020c"),                                          # PUBLISH without anything (RSMB)
           bytes([86, 4, 4, 1, 0, 60]) + b"x" * 80,                        # client id of 80 bytes (Paho)
           b"\x01" + struct.pack("!H", 1039) + b"\x0c\x20\x00\x01\x00\x01" + b"x" * 1030,  # payload of 1,030 bytes (Paho)
           b"", b"\x00", b"\x01", b"\x01\x00", b"\x01\x00\x00", b"\x01\x00\x04\x04", b"\x00\x00", b"\xff" * 300, b"\x01" * 65000,
           b"\x02\x07", b"\x02\x09", b"\x02\x1a", b"\x02\x1c", b"\x03\x18\x00", b"\x02\xfe", b"\x03\xfe\x00", b"\x04\xfe\x00\x00",
           bytes([6, 4, 0x0c, 1, 0, 0]), bytes([7, 4, 0, 1, 0, 0, 0])]


def test_single_datagrams(plain_broker, mqttsn, device):
    b = plain_broker()
    g = mqttsn(b)
    d = device(g, "dev1").connect()
    topic = d.register("a")
    for i in range(60):  # the 51st REGISTER (Paho)
        d.register(f"topic/{i}")
    junk = Transport(g.port)
    for datagram in KILLERS:
        junk.send(datagram)
        d.transport.send(datagram) if datagram[1:2] not in (b"\x04", b"\x18") else None
        d.publish(topic, b"alive", 1)
    junk.close()
    d.publish(topic, b"x" * 1030, 1)
    assert g.process.running()
    assert g.status()["malformed"] > 10


def test_restart_of_the_gateway_under_its_clients(plain_broker, mqttsn, device):
    """kill -9: clients hear DISCONNECT at their next packet and come back."""
    b = plain_broker()
    g = mqttsn(b)
    d = device(g, "dev1").connect(clean=False)
    topic = d.register("a")
    g.process.kill()
    mqttsn(b, f"listener {g.port} 127.0.0.1", name="again")
    d.send_publish(topic, b"x", 1)
    d.expect(DISCONNECT)
    d.connect(clean=False)
    assert d.register("a") == topic
    d.publish(topic, b"x", 1)


def test_pingresp_only_to_clients(plain_broker, mqttsn, device):
    b = plain_broker()
    g = mqttsn(b)
    d = device(g, "dev1")
    d.send(0x16)
    assert d.expect(DISCONNECT, PINGRESP).kind == DISCONNECT


@pytest.mark.parametrize("aggregate", ["false", "true"])
def test_a_device_cannot_cut_off_the_others(plain_broker, mqttsn, device, aggregate):
    """mosquitto closes a connection for a topic with control characters, or with more than 200 levels: such topics stay here."""
    b = plain_broker()
    g = mqttsn(b, f"aggregate {aggregate}")
    good, bad = device(g, "good").connect(), device(g, "bad").connect()
    topic = good.register("a")
    for name in ("a\x01b", "\x7f", "\x80", "\ufdd0", "\uffff", "a" + "/" * 201, "\x1f\x1f"):
        bad.register(name, code=NOT_SUPPORTED)
        bad.subscribe(name, code=NOT_SUPPORTED)
        bad.subscribe(name + "/#", code=NOT_SUPPORTED)
    for short in ("\x01\x02", "a\n", "\x7f\x7f"):
        bad.send_publish(short, b"x", 3, kind=SHORT)
        device(g, "stranger").send_publish(short, b"x", 3, kind=SHORT)
        bad.publish(short, b"x", 1, kind=SHORT, code=INVALID_TOPIC_ID)
        bad.subscribe(short, 1, kind=SHORT, code=NOT_SUPPORTED)
    for name in ("$SYS/broker/x", "$share/x/y", "$unknown", "/", "//", "a" + "/" * 200):
        bad.send_publish(bad.register(name), b"x", 0)
        bad.subscribe(name, 1)
    bad.subscribe("$share/group/a/#", 1)
    bad.subscribe("$share", code=NOT_SUPPORTED)
    bad.register("$CONTROL/mosquitto-aws/v1", code=NOT_SUPPORTED)  # whoever sends a datagram must not control the broker
    bad.subscribe("$CONTROL/#", code=NOT_SUPPORTED)
    good.publish(topic, b"x", 1)
    bad.ping()
    assert "disconnected due to" not in b.process.text()
    assert not g.process.lines("uplink.lost|link-lost")
    w = device(g, "will")
    w.send_connect(will=True)
    w.expect(0x06)
    w.send(0x07, b"\x00a\x01")
    assert w.expect(CONNACK).code == NOT_SUPPORTED


@pytest.mark.parametrize("conf, flags", [("retain_available false", 0x30), ("max_qos 1", 0x40), ("message_size_limit 1000", 0x20)])
def test_the_broker_refuses_the_will(plain_broker, mqttsn, device, conf, flags):
    """For good: "not supported", not "congestion", after which a device would try for ever. A will update is answered, too."""
    g = mqttsn(plain_broker(conf=conf))
    d = device(g, "dev1")
    d.send_connect(will=True)
    d.expect(0x06)
    d.send(0x07, bytes([flags]) + b"w")
    d.expect(0x08)
    d.send(0x09, b"x" * 2000)
    assert d.expect(CONNACK).code == NOT_SUPPORTED
    if flags != 0x20:
        d.connect(will=("w", b"x"))
        d.send(0x1a, bytes([flags]) + b"w")
        assert d.expect(0x1b).code == NOT_SUPPORTED
        d.expect(DISCONNECT)


def test_a_connect_that_the_broker_cuts_off(plain_broker, mqttsn, device):
    """mosquitto closes the connection for a CONNECT above max_packet_size. It is not away: others may connect."""
    g = mqttsn(plain_broker(conf="max_packet_size 500"))
    large = device(g, "large")
    for n in range(5):
        large.send_connect(will=True)
        large.expect(0x06)
        large.send(0x07, b"\0w")
        large.expect(0x08)
        large.send(0x09, b"x" * 2000)
        assert large.expect(CONNACK).code != 0
        device(g, f"small-{n}").connect()


def test_another_client_at_the_same_address(plain_broker, mqttsn, device):
    """Nobody would notice that the first one is gone when it has no keep-alive."""
    g = mqttsn(plain_broker())
    d = device(g, "dev0")
    for n in range(5):
        d.client_id = f"dev{n}"
        d.connect(keepalive=0)
    g.wait_status(clients=1, links=1)
    d.ping()


def test_the_oldest_that_is_away_comes_to_anothers_address(plain_broker, mqttsn, device):
    """The one that was there is away then, as one too many; the oldest is the one that comes."""
    g = mqttsn(plain_broker(), "aggregate true", "max_clients 2")
    device(g, "oldest").connect(clean=False).disconnect()
    device(g, "second").connect(clean=False).disconnect()
    d = device(g, "there").connect(clean=False, keepalive=0)
    d.client_id = "oldest"
    d.connect(clean=False)
    d.ping()
    g.wait_status(clients=1, away=2)


def test_too_many_are_away(plain_broker, mqttsn, device):
    """Those that the loss of the broker sends away come on top of those that were away: the oldest are forgotten."""
    b = plain_broker()
    g = mqttsn(b, "aggregate true", "max_clients 20")
    for n in range(20):
        device(g, f"away{n}").connect(clean=False).disconnect()
    there = [device(g, f"there{n}").connect(clean=False) for n in range(20)]
    b.kill9()
    there[-1].expect(DISCONNECT)
    b.start()
    wait_until(lambda: g.process.lines("uplink.connected")[1:], 10)
    g.wait_status(clients=0, away=20)
    assert g.stop() == 0


def test_two_gateways_with_one_id_are_told(plain_broker, mqttsn):
    """They throw each other out; mosquitto 2.0 does not say why."""
    b = plain_broker()
    first = mqttsn(b)
    mqttsn(b)
    first.wait_log("uplink.unstable.*mqttsn-gateway-", timeout=20)
