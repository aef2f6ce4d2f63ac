"""certs/dev-ca."""

import stat
import subprocess

import pytest
from harness.process import TOP


def dev_ca(directory, *words, ok=True):
    p = subprocess.run([TOP / "certs" / "dev-ca", "-d", directory, *words], capture_output=True, text=True, timeout=30)
    assert (p.returncode == 0) == ok, p.stdout + p.stderr
    return p.stdout + p.stderr


def verify(directory, name, *more):
    return subprocess.run(["openssl", "verify", "-x509_strict", "-CAfile", directory / "ca.crt", *more, directory / name],
                          capture_output=True).returncode == 0


def test_server_and_client(tmp_path):
    dev_ca(tmp_path, "server", "gw", "gateway.local", "192.0.2.7", "2001:db8::7")
    dev_ca(tmp_path, "client", "phone")
    for what in (["-verify_hostname", "gateway.local"], ["-verify_ip", "192.0.2.7"], ["-verify_ip", "2001:db8::7"]):
        assert verify(tmp_path, "gw.crt", "-purpose", "sslserver", *what)
    assert not verify(tmp_path, "gw.crt", "-verify_hostname", "other.local")
    assert verify(tmp_path, "phone.crt", "-purpose", "sslclient") and not verify(tmp_path, "phone.crt", "-purpose", "sslserver")
    for key in tmp_path.glob("*.key"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        text = subprocess.run(["openssl", "pkey", "-in", key, "-noout", "-text"], capture_output=True, text=True).stdout
        assert "prime256v1" in text
    assert len(list(tmp_path.glob("*.key"))) == 3 and not list(tmp_path.glob(".work*"))


def test_again_changes_nothing_until_the_names_change(tmp_path):
    dev_ca(tmp_path, "server", "s", "a.local")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert dev_ca(tmp_path, "server", "s", "a.local") == ""
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    dev_ca(tmp_path, "server", "s", "b.local")
    assert verify(tmp_path, "s.crt", "-verify_hostname", "b.local")
    assert (tmp_path / "ca.crt").read_bytes() == before["ca.crt"]


def test_what_is_about_to_expire_is_renewed(tmp_path):
    dev_ca(tmp_path, "--days", "10", "client", "c")
    before = (tmp_path / "c.crt").read_bytes()
    dev_ca(tmp_path, "client", "c")
    assert (tmp_path / "c.crt").read_bytes() != before


def test_damaged_key_is_replaced(tmp_path):
    dev_ca(tmp_path, "client", "c")
    (tmp_path / "c.key").write_text("x")
    dev_ca(tmp_path, "client", "c")
    assert "BEGIN" in (tmp_path / "c.key").read_text()


@pytest.mark.parametrize("words", [["server", "x"], ["server", "x", "a b"], ["client", "../x"], ["client", "ca"], ["client"],
                                   ["nonsense"], [], ["--days", "many", "client", "x"]])
def test_mistakes(tmp_path, words):
    """Nothing is made, no authority either."""
    folder = tmp_path / "made"
    assert dev_ca(folder, *words, ok=False) and not folder.exists()


def test_trust(tmp_path):
    text = dev_ca(tmp_path, "trust")
    fingerprint = subprocess.run(["openssl", "x509", "-in", tmp_path / "ca.crt", "-noout", "-fingerprint", "-sha256"],
                                 capture_output=True, text=True).stdout.split("=")[1].strip()
    assert fingerprint in text and "Android" in text and "iOS" in text
