"""Credentials of the tests' own making. All that they say follows from the access key id, so that the server that issues them
and the one that checks them need not talk to each other."""
import base64
import datetime
import hashlib
import hmac
import itertools
import time

_SECRET_OF_THE_TESTS = b"mosquitto-aws tests"
_serial = itertools.count()


class Identity:
    """access_key: "AKIA" + name (for ever), or "ASIA" + serial + issued (ms) + expires (ms), in hex."""

    def __init__(self, access_key):
        self.access_key = access_key
        self.secret_key = self._derive(b"secret", 30)
        self.temporary = access_key.startswith("ASIA")
        self.token = self._derive(b"token", 300) if self.temporary else ""
        self.issued = int(access_key[8:20], 16) / 1000 if self.temporary else 0.0
        self.expires = int(access_key[20:32], 16) / 1000 if self.temporary else float("inf")

    def _derive(self, purpose, size):
        text = b""
        while len(text) < size:
            text += hmac.new(_SECRET_OF_THE_TESTS, purpose + b"%d" % len(text) + self.access_key.encode(), hashlib.sha256).digest()
        return base64.b64encode(text[:size]).decode()

    def expiration(self):
        return datetime.datetime.utcfromtimestamp(self.expires).strftime("%Y-%m-%dT%H:%M:%SZ")

    def environment(self):
        env = {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}
        return dict(env, AWS_SESSION_TOKEN=self.token) if self.token else env


def long_lived(name="GATEWAY"):
    return Identity(f"AKIA{name.upper()}")


def issue(lifetime):
    """New temporary credentials, good for `lifetime` seconds from now (cut to whole seconds, as AWS's answers are)."""
    now = time.time()
    expires = int(now + lifetime) * 1000
    return Identity(f"ASIA{next(_serial) & 0xffff:04X}{int(now * 1000):012X}{expires:012X}")


def find(access_key):
    """The identity with this access key id, or None when the tests cannot have issued it."""
    try:
        identity = Identity(access_key)
    except ValueError:
        return None
    known = access_key.startswith("AKIA") or (identity.temporary and len(access_key) == 32)
    return identity if known else None
