"""Checks a request's AWS Signature Version 4 as DynamoDB does, computed here from the request as it came over the wire."""
import calendar
import hashlib
import hmac
import re
import time

import aws_identity

SKEW_S = 300
AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^,/ ]+)/(\d{8})/([^,/ ]+)/([^,/ ]+)/aws4_request, ?SignedHeaders=([^, ]+), ?Signature=([0-9a-f]{64})"
)


class Refused(Exception):
    """An answer of status 400 with this type and message."""

    def __init__(self, kind, message, prefix="com.amazon.coral.service#"):
        super().__init__(message)
        self.kind = kind
        self.type = prefix + kind
        self.message = message


def _hmac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signature(secret_key, day, region, service, string_to_sign):
    key = ("AWS4" + secret_key).encode()
    for part in (day, region, service, "aws4_request"):
        key = _hmac(key, part)
    return _hmac(key, string_to_sign).hex()


def _canonical(method, path, headers, signed_names, body):
    """path has no query string and needs no normalisation: DynamoDB's requests all go to "/"."""
    lines = [method, path, ""]
    for name in signed_names:
        value = ",".join(" ".join(v.split()) for v in headers.get_all(name, []))
        lines.append(f"{name}:{value}")
    lines += ["", ";".join(signed_names), hashlib.sha256(body).hexdigest()]
    return "\n".join(lines)


def _check_clock(stamp, now):
    when = calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
    shown = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    if when < now - SKEW_S:
        raise Refused("InvalidSignatureException", f"Signature expired: {stamp} is now earlier than {shown} - 5 min.")
    if when > now + SKEW_S:
        raise Refused("InvalidSignatureException", f"Signature not yet current: {stamp} is still later than {shown} + 5 min.")


def verify(method, path, headers, body, region, now, revoked_before=0.0, service="dynamodb"):
    """Raises Refused, or returns the identity that signed. headers: email.message.Message. now: the server's clock."""
    given = headers.get("Authorization")
    if not given:
        raise Refused("MissingAuthenticationTokenException", "Request is missing Authentication Token")
    match = AUTHORIZATION.fullmatch(given)
    stamp = headers.get("X-Amz-Date", "")
    if not match or not re.fullmatch(r"\d{8}T\d{6}Z", stamp):
        raise Refused("IncompleteSignatureException", "Authorization header is malformed or x-amz-date is missing")
    access_key, day, got_region, got_service, names, got = match.groups()
    signed = names.split(";")
    if signed != sorted(signed):
        raise Refused("InvalidSignatureException", "SignedHeaders are not sorted")
    needed = {"host"} | {n.lower() for n in headers.keys() if n.lower().startswith("x-amz-")}
    if not needed <= set(signed):
        missing = ", ".join(sorted(needed - set(signed)))
        raise Refused("InvalidSignatureException", f"headers that must be signed and are not: {missing}")
    if got_region != region or got_service != service:
        raise Refused("InvalidSignatureException", f"Credential should be scoped to {region}/{service}, not {got_region}/{got_service}")
    if day != stamp[:8]:
        raise Refused("InvalidSignatureException", "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date")
    identity = aws_identity.find(access_key)
    if identity is None or headers.get("X-Amz-Security-Token", "") != identity.token:
        raise Refused("UnrecognizedClientException", "The security token included in the request is invalid.")
    _check_clock(stamp, now)
    text = _canonical(method, path, headers, signed, body)
    scope = f"{day}/{region}/{service}/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(text.encode()).hexdigest()])
    if signature(identity.secret_key, day, region, service, to_sign) != got:
        raise Refused(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. "
            f"The Canonical String for this request should have been\n'{text}'\n",
        )
    if identity.expires <= time.time() or (identity.temporary and identity.issued < revoked_before):
        raise Refused("ExpiredTokenException", "The security token included in the request is expired")
    return identity
