"""Certificates for the tests: an authority made by certs/dev-ca, and certificates that are wrong in one way each."""

import datetime
import pathlib
import subprocess

from .process import TOP


class Identity:
    """Paths of a certificate, its key and the authority that signed it."""

    def __init__(self, cert, key, ca):
        self.cert, self.key, self.ca = pathlib.Path(cert), pathlib.Path(key), pathlib.Path(ca)


class Pki:
    """An authority in `directory`. server() and client() make identities signed by it."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.ca = self.directory / "ca.crt"
        self._dev_ca("ca")

    def _dev_ca(self, *words):
        subprocess.run([TOP / "certs" / "dev-ca", "-q", "-d", self.directory, *words], check=True)

    def _identity(self, name):
        return Identity(self.directory / f"{name}.crt", self.directory / f"{name}.key", self.ca)

    def server(self, name="server", hosts=("localhost", "127.0.0.1", "::1")):
        self._dev_ca("server", name, *hosts)
        return self._identity(name)

    def client(self, name="gateway"):
        self._dev_ca("client", name)
        return self._identity(name)

    def expired(self, name="expired", hosts=("localhost",), server=True):
        """A server (or client) certificate that was valid until yesterday."""
        return self._special(name, hosts, server, days_from=-30, days_to=-1)

    def not_yet_valid(self, name="future", hosts=("localhost",), server=True):
        return self._special(name, hosts, server, days_from=1, days_to=30)

    def expiring(self, name="expiring", hosts=("localhost",), server=False, days=20):
        return self._special(name, hosts, server, days_from=-1, days_to=days)

    def large(self, name="large", hosts=("localhost",), names=1500):
        """A server certificate of many tens of kilobytes: it does not fit one TLS record."""
        return self._special(name, tuple(hosts) + tuple(f"host-{i:05}.example.org" for i in range(names)), True, -1, 30)

    def _special(self, name, hosts, server, days_from, days_to):
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

        ca_cert = x509.load_pem_x509_certificate(self.ca.read_bytes())
        ca_key = serialization.load_pem_private_key((self.directory / "ca.key").read_bytes(), None)
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.timezone.utc)
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (x509.CertificateBuilder()
                   .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
                   .issuer_name(ca_cert.subject).public_key(key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(now + datetime.timedelta(days=days_from))
                   .not_valid_after(now + datetime.timedelta(days=days_to))
                   .add_extension(x509.SubjectAlternativeName([x509.DNSName(h) for h in hosts]), False)
                   .add_extension(x509.ExtendedKeyUsage([usage]), False)
                   .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_cert.public_key()), False))
        cert = builder.sign(ca_key, hashes.SHA256())
        identity = self._identity(name)
        identity.cert.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        identity.key.touch(0o600)
        identity.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                                   serialization.NoEncryption()))
        return identity
