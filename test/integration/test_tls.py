"""The uplink's TLS: what it must refuse, and what it must cope with."""

import os
import subprocess
import time

import pytest
from harness.gate import Gate
from harness.pki import Identity, Pki
from harness.process import free_port, wait_until


def options(endpoint, identity, ca, *more):
    return [f"iot_endpoint {endpoint}", f"iot_certfile {identity.cert}", f"iot_keyfile {identity.key}", f"iot_cafile {ca}",
            "topic # out 1", *more]


def never_connected(g, b, pattern, seconds=4):
    """The reason is in the log, and no MQTT connection came about."""
    b.wait_log(pattern, 15)
    time.sleep(seconds / 4)
    assert not g.events("connect")
    b.publish("kept", b"1")


def test_wrong_authority(broker, gate, client_id, tmp_path):
    g = gate()
    b = broker(options=options(f"localhost:{g.port}", client_id, Pki(tmp_path / "other").ca))
    never_connected(g, b, "(?i)verif|certificate|issuer|self.signed")


@pytest.mark.parametrize("kind, words", [("expired", "expired"), ("not_yet_valid", "not valid before")])
def test_server_certificate_out_of_date(broker, gate, client_id, pki, kind, words):
    g = gate(server=getattr(pki, kind)())
    b = broker(options=options(f"localhost:{g.port}", client_id, pki.ca))
    never_connected(g, b, f"(?i){words}")


def test_wrong_host_name(broker, gate, client_id, pki):
    g = gate(server=pki.server("elsewhere", ("elsewhere.example.org",)))
    b = broker(options=options(f"localhost:{g.port}", client_id, pki.ca))
    never_connected(g, b, "(?i)host.?name|mismatch")


def test_client_certificate_refused_by_the_server(broker, gate, pki, tmp_path):
    g = gate()
    stranger = Pki(tmp_path / "stranger").client("stranger")
    b = broker(options=options(f"localhost:{g.port}", stranger, pki.ca))
    never_connected(g, b, "(?i)alert|unknown ca|certificate")


def test_large_server_certificate(broker, gate, client_id, pki):
    g = gate(server=pki.large())
    b = broker(options=options(f"localhost:{g.port}", client_id, pki.ca))
    g.wait_connected()
    b.publish("a", b"1")
    g.wait_messages(1)


@pytest.mark.parametrize("more", [{"tls_max": "1.2"}, {"tls_max": "1.2", "ciphers": "ECDHE-ECDSA-AES128-GCM-SHA256"},
                                  {"tls_max": "1.3"}])
def test_versions_and_ciphers(broker, gate, client_id, pki, more):
    g = gate(**more)
    b = broker(options=options(f"localhost:{g.port}", client_id, pki.ca))
    g.wait_connected()
    assert g.events("tls")[0]["version"] == f"TLSv{more['tls_max']}"
    b.publish("a", b"x" * 60000)
    g.wait_messages(1)


def test_small_fragments(broker, gate, client_id, pki, relay):
    """The handshake and everything after it arrive byte by byte."""
    g = gate()
    r = relay(g.port, chunk=1)
    b = broker(options=options(f"localhost:{r.port}", client_id, pki.ca))
    g.wait_connected()
    b.publish("a", b"1")
    g.wait_messages(1)
    assert g.events("tls")[0]["server_name"] == "localhost"


@pytest.mark.skipif(os.getuid() != 0, reason="needs a mount namespace of its own")
def test_alpn_on_port_443(broker, gate, client_id, pki, tmp_path):
    """Port 443 of an endpoint: SNI and ALPN x-amzn-mqtt-ca. The broker sees a hosts file of its own."""
    address = f"127.{os.getpid() % 200 + 10}.{time.monotonic_ns() % 200 + 1}.7"
    name = "iot.example.org"
    g = gate(server=pki.server("iot443", (name,)), names=(name,), address=address, port=free_port(), alpn_port=443)
    hosts = tmp_path / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n{address} {name}\n")
    b = broker(options=options(f"{name}:443", client_id, pki.ca),
               prefix=["unshare", "-m", "sh", "-c", f"mount --bind {hosts} /etc/hosts && exec \"$@\"", "sh"])
    g.wait_connected()
    tls = g.events("tls")[0]
    assert (tls["alpn"], tls["server_name"]) == ("x-amzn-mqtt-ca", name)
    b.publish("a", b"1")
    g.wait_messages(1)


def put(identity, directory):
    """The identity in files that a test replaces; their Identity."""
    files = Identity(directory / "device.crt", directory / "device.key", identity.ca)
    files.cert.write_bytes(identity.cert.read_bytes())
    files.key.write_bytes(identity.key.read_bytes())
    return files


def test_dates_of_the_certificate(broker, gate, pki, tmp_path):
    """An expired certificate is told about at the start, which it does not prevent; after SIGHUP the renewed one is judged."""
    g = gate()
    files = put(pki.expired("worn", server=False), tmp_path)
    b = broker(options=options(f"localhost:{g.port}", files, pki.ca))
    b.wait_log(f"certificate.expired: .*option=iot_certfile file='{files.cert}' subject='worn' until=20.*days_ago=1")
    b.publish("kept", b"1")
    b.wait_sys("certificate/days_left", "0")
    b.wait_sys("spool/records", "1")
    assert not b.process.lines("iot_cafile")
    put(pki.expiring(), tmp_path)
    b.reload()
    b.wait_log("certificate.expires: .*subject='expiring' until=20.*days_left=19")
    b.wait_sys("certificate/days_left", "19")
    g.wait_connected()
    g.wait_messages(1)
    put(pki.not_yet_valid("early", server=False), tmp_path)
    b.reload()
    b.wait_log("certificate.not-yet-valid: .*clock.*subject='early' from=20")
    put(pki.client("fresh"), tmp_path)
    lines = len(b.process.lines("certificate[.]"))
    b.reload()
    b.wait_sys("certificate/days_left", lambda days: int(days) > 29)
    assert len(b.process.lines("certificate[.]")) == lines


def test_renewed_certificate_is_used_after_sighup(broker, gate, pki, tmp_path):
    """A new pair in the same files: the next connection uses it. A bad pair: the old one stays, and the log says so."""
    files = [tmp_path / "device.crt", tmp_path / "device.key"]
    first, second = pki.client("first"), pki.client("second")

    def install(cert, key):
        files[0].write_bytes(cert.read_bytes())
        files[1].write_bytes(key.read_bytes())

    install(first.cert, first.key)
    g = gate()
    b = broker(options=[f"iot_endpoint localhost:{g.port}", f"iot_certfile {files[0]}", f"iot_keyfile {files[1]}",
                        f"iot_cafile {pki.ca}", "topic # out 1"])
    g.wait_connected()
    assert g.events("tls")[-1]["subject"] == "first"
    install(second.cert, second.key)
    b.reload()
    wait_until(lambda: "Reloading config" in b.log)
    time.sleep(0.5)
    g.end("close")
    g.wait_connected(2, 30)
    assert g.events("tls")[-1]["subject"] == "second"
    install(first.cert, second.key)  # does not belong together
    b.reload()
    b.wait_log(r"(?i)device\.(crt|key)")
    g.end("close")
    g.wait_connected(3, 40)
    assert g.events("tls")[-1]["subject"] == "second"
    b.publish("a", b"1")
    g.wait_messages(1)


def test_gate_of_an_older_gateway_is_untouched(gate, pki, tmp_path):
    """The gate that these tests rely on refuses what IoT Core refuses: see test_fake_iotcore.py. Here only that openssl's own
    client gets through with SNI, so that a failure above is the plugin's."""
    g: Gate = gate()
    identity = pki.client("openssl")
    p = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{g.port}", "-servername", "localhost", "-verify_return_error",
                        "-CAfile", pki.ca, "-cert", identity.cert, "-key", identity.key, "-brief"], input="", text=True,
                       capture_output=True, timeout=20)
    assert "Verification: OK" in p.stderr
