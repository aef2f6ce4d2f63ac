"""MQTT 3.1.1 and 5.0 packets for the tests: a second implementation beside the C codec, written from the OASIS
specifications alone, so that the two check one another. No I/O.

    decoder = Decoder(version=None)      # the version comes from the first CONNECT (server) ...
    decoder = Decoder(version=5)         # ... or is known (client)
    for packet in decoder.feed(data): ...
    sock.sendall(encode(Publish("a/b", b"x", qos=1, packet_id=7), version=5))

Packets are the dataclasses below. Properties are a dict by the names of PROPERTIES; user properties are a list of
pairs under "user_property". Anything that breaks the specification raises ProtocolError (with the v5 reason code).
"""

from dataclasses import dataclass, field
from struct import pack, unpack_from

V311 = 4
V5 = 5

(CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP,
 DISCONNECT, AUTH) = range(1, 16)

NAMES = ["", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK",
         "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"]

# identifier: (name, type, may stand several times); section 2.2.2.2 of MQTT 5.0
PROPERTIES = {
    0x01: ("payload_format_indicator", "byte"), 0x02: ("message_expiry_interval", "u32"),
    0x03: ("content_type", "text"), 0x08: ("response_topic", "text"), 0x09: ("correlation_data", "binary"),
    0x0B: ("subscription_identifier", "varint"), 0x11: ("session_expiry_interval", "u32"),
    0x12: ("assigned_client_identifier", "text"), 0x13: ("server_keep_alive", "u16"),
    0x15: ("authentication_method", "text"), 0x16: ("authentication_data", "binary"),
    0x17: ("request_problem_information", "byte"), 0x18: ("will_delay_interval", "u32"),
    0x19: ("request_response_information", "byte"), 0x1A: ("response_information", "text"),
    0x1C: ("server_reference", "text"), 0x1F: ("reason_string", "text"), 0x21: ("receive_maximum", "u16"),
    0x22: ("topic_alias_maximum", "u16"), 0x23: ("topic_alias", "u16"), 0x24: ("maximum_qos", "byte"),
    0x25: ("retain_available", "byte"), 0x26: ("user_property", "pair"), 0x27: ("maximum_packet_size", "u32"),
    0x28: ("wildcard_subscription_available", "byte"), 0x29: ("subscription_identifier_available", "byte"),
    0x2A: ("shared_subscription_available", "byte"),
}
PROPERTY_IDS = {name: (number, kind) for number, (name, kind) in PROPERTIES.items()}

# Which properties may stand in which packet; "will" is the will's own list in CONNECT.
ALLOWED = {
    CONNECT: {0x11, 0x21, 0x27, 0x22, 0x19, 0x17, 0x26, 0x15, 0x16},
    "will": {0x18, 0x01, 0x02, 0x03, 0x08, 0x09, 0x26},
    CONNACK: {0x11, 0x21, 0x24, 0x25, 0x27, 0x12, 0x22, 0x1F, 0x26, 0x28, 0x29, 0x2A, 0x13, 0x1A, 0x1C, 0x15, 0x16},
    PUBLISH: {0x01, 0x02, 0x23, 0x08, 0x09, 0x26, 0x0B, 0x03},
    PUBACK: {0x1F, 0x26}, PUBREC: {0x1F, 0x26}, PUBREL: {0x1F, 0x26}, PUBCOMP: {0x1F, 0x26},
    SUBSCRIBE: {0x0B, 0x26}, SUBACK: {0x1F, 0x26}, UNSUBSCRIBE: {0x26}, UNSUBACK: {0x1F, 0x26},
    DISCONNECT: {0x11, 0x1F, 0x26, 0x1C}, AUTH: {0x15, 0x16, 0x1F, 0x26},
}

MALFORMED = 0x81
PROTOCOL_ERROR = 0x82


class ProtocolError(Exception):
    """The peer broke the specification; reason is the MQTT 5 code that says how."""

    def __init__(self, text, reason=MALFORMED):
        super().__init__(text)
        self.reason = reason


@dataclass
class Will:
    topic: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    properties: dict = field(default_factory=dict)


@dataclass
class Connect:
    client_id: str = ""
    version: int = V311
    clean_start: bool = True
    keepalive: int = 60
    username: str | None = None
    password: bytes | None = None
    will: Will | None = None
    properties: dict = field(default_factory=dict)
    type = CONNECT


@dataclass
class Connack:
    reason: int = 0
    session_present: bool = False
    properties: dict = field(default_factory=dict)
    type = CONNACK


@dataclass
class Publish:
    topic: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0
    properties: dict = field(default_factory=dict)
    type = PUBLISH


@dataclass
class Ack:
    """PUBACK, PUBREC, PUBREL or PUBCOMP, by type."""

    type: int
    packet_id: int
    reason: int = 0
    properties: dict = field(default_factory=dict)


@dataclass
class Subscribe:
    packet_id: int
    filters: list  # of (filter, options byte)
    properties: dict = field(default_factory=dict)
    type = SUBSCRIBE


@dataclass
class Unsubscribe:
    packet_id: int
    filters: list
    properties: dict = field(default_factory=dict)
    type = UNSUBSCRIBE


@dataclass
class Suback:
    """SUBACK or UNSUBACK, by type."""

    packet_id: int
    codes: list
    properties: dict = field(default_factory=dict)
    type: int = SUBACK


@dataclass
class Plain:
    """PINGREQ or PINGRESP, by type."""

    type: int


@dataclass
class Disconnect:
    reason: int = 0
    properties: dict = field(default_factory=dict)
    type = DISCONNECT


@dataclass
class Auth:
    reason: int = 0
    properties: dict = field(default_factory=dict)
    type = AUTH


# ---- writing ----------------------------------------------------------------------------------------------------

def varint(n):
    """Variable byte integer."""
    if not 0 <= n <= 268435455:
        raise ValueError(f"no variable byte integer: {n}")
    out = bytearray()
    while True:
        n, low = n >> 7, n & 0x7F
        out.append(low | (0x80 if n else 0))
        if not n:
            return bytes(out)


def binary(b):
    if len(b) > 65535:
        raise ValueError("string longer than 65,535 bytes")
    return pack(">H", len(b)) + b


def text(s):
    return binary(s.encode() if isinstance(s, str) else s)


_WRITERS = {"byte": lambda v: pack(">B", v), "u16": lambda v: pack(">H", v), "u32": lambda v: pack(">I", v),
            "varint": varint, "text": text, "binary": binary, "pair": lambda v: text(v[0]) + text(v[1])}


def encode_properties(properties):
    out = bytearray()
    for name, value in properties.items():
        number, kind = PROPERTY_IDS[name]
        several = isinstance(value, list)
        for one in value if several else [value]:
            out += varint(number) + _WRITERS[kind](one)
    return varint(len(out)) + bytes(out)


def _encode_connect(p):
    flags = (2 if p.clean_start else 0) | (0x80 if p.username is not None else 0) | (0x40 if p.password is not None else 0)
    body = text(p.client_id)
    if p.will:
        flags |= 4 | p.will.qos << 3 | (0x20 if p.will.retain else 0)
        if p.version == V5:
            body += encode_properties(p.will.properties)
        body += text(p.will.topic) + binary(p.will.payload)
    if p.username is not None:
        body += text(p.username)
    if p.password is not None:
        body += binary(p.password)
    head = text("MQTT") + pack(">BBH", p.version, flags, p.keepalive)
    return head + (encode_properties(p.properties) if p.version == V5 else b"") + body


def encode(p, version=V311):
    """The bytes of a packet."""
    v5 = version == V5
    flags = 0
    properties = encode_properties(p.properties) if v5 and hasattr(p, "properties") else b""
    if p.type == CONNECT:
        body = _encode_connect(p)
    elif p.type == CONNACK:
        body = pack(">BB", p.session_present, p.reason) + properties
    elif p.type == PUBLISH:
        flags = (8 if p.dup else 0) | p.qos << 1 | (1 if p.retain else 0)
        body = text(p.topic) + (pack(">H", p.packet_id) if p.qos else b"") + properties + p.payload
    elif p.type in (PUBACK, PUBREC, PUBREL, PUBCOMP):
        flags = 2 if p.type == PUBREL else 0
        body = pack(">H", p.packet_id)
        if v5 and (p.reason or p.properties):
            body += pack(">B", p.reason) + (properties if p.properties else b"")
    elif p.type == SUBSCRIBE:
        flags = 2
        body = pack(">H", p.packet_id) + properties + b"".join(text(f) + pack(">B", o) for f, o in p.filters)
    elif p.type == UNSUBSCRIBE:
        flags = 2
        body = pack(">H", p.packet_id) + properties + b"".join(text(f) for f in p.filters)
    elif p.type in (SUBACK, UNSUBACK):
        body = pack(">H", p.packet_id) + properties
        if p.type == SUBACK or v5:
            body += bytes(p.codes)
    elif p.type in (DISCONNECT, AUTH):
        body = b""
        if v5 and (p.reason or p.properties):
            body = pack(">B", p.reason) + (properties if p.properties else b"")
    else:
        body = b""
    return pack(">B", p.type << 4 | flags) + varint(len(body)) + body


# ---- reading ----------------------------------------------------------------------------------------------------

class _Reader:
    """Takes fields off the front of one packet's bytes."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def left(self):
        return len(self.data) - self.at

    def take(self, n):
        if self.left() < n:
            raise ProtocolError("packet ends inside a field")
        self.at += n
        return self.data[self.at - n:self.at]

    def byte(self):
        return self.take(1)[0]

    def u16(self):
        return unpack_from(">H", self.take(2))[0]

    def u32(self):
        return unpack_from(">I", self.take(4))[0]

    def varint(self):
        value = 0
        for shift in (0, 7, 14, 21):
            b = self.byte()
            value |= (b & 0x7F) << shift
            if not b & 0x80:
                if shift and not b:
                    raise ProtocolError("variable byte integer longer than necessary")
                return value
        raise ProtocolError("variable byte integer of more than 4 bytes")

    def binary(self):
        return self.take(self.u16())

    def text(self):
        try:
            s = self.binary().decode("utf-8")
        except UnicodeDecodeError as e:
            raise ProtocolError(f"string is not UTF-8: {e.reason}") from None
        if "\0" in s:
            raise ProtocolError("U+0000 in a string")
        return s

    def pair(self):
        return (self.text(), self.text())

    def rest(self):
        return self.take(self.left())

    def packet_id(self):
        n = self.u16()
        if n == 0:
            raise ProtocolError("packet identifier 0", PROTOCOL_ERROR)
        return n

    def properties(self, where):
        length = self.varint()
        part = _Reader(self.take(length))
        found = {}
        while part.left():
            number = part.varint()
            if number not in PROPERTIES:
                raise ProtocolError(f"unknown property 0x{number:02x}")
            name, kind = PROPERTIES[number]
            if number not in ALLOWED[where]:
                raise ProtocolError(f"property {name} in {where if where == 'will' else NAMES[where]}", PROTOCOL_ERROR)
            value = getattr(part, kind)()
            if name == "user_property" or (name == "subscription_identifier" and where == PUBLISH):
                found.setdefault(name, []).append(value)
            elif name in found:
                raise ProtocolError(f"property {name} twice", PROTOCOL_ERROR)
            else:
                found[name] = value
        return found


def _topic(topic, empty_allowed=False):
    if not topic and not empty_allowed:
        raise ProtocolError("empty topic", PROTOCOL_ERROR)
    if "+" in topic or "#" in topic:
        raise ProtocolError(f"wildcard in a topic name: {topic!r}", 0x90)
    return topic


def filter_is_valid(f):
    """A well-formed topic filter (section 4.7.1)."""
    levels = f.split("/")
    return bool(f) and all(("+" not in x or x == "+") and ("#" not in x or (x == "#" and i == len(levels) - 1))
                           for i, x in enumerate(levels))


def topic_matches(f, topic):
    """Does the filter match the topic (section 4.7; wildcards do not match a leading $)?"""
    fs, ts = f.split("/"), topic.split("/")
    if topic.startswith("$") and fs[0] in ("+", "#"):
        return False
    for i, level in enumerate(fs):
        if level == "#":
            return True
        if i >= len(ts) or (level != "+" and level != ts[i]):
            return False
    return len(fs) == len(ts)


def _decode_connect(r):
    if r.text() != "MQTT":
        raise ProtocolError("protocol name is not MQTT", 0x84)
    version = r.byte()
    if version not in (V311, V5):
        raise ProtocolError(f"protocol version {version}", 0x84)
    flags = r.byte()
    p = Connect(version=version, keepalive=r.u16(), clean_start=bool(flags & 2))
    if flags & 1:
        raise ProtocolError("reserved CONNECT flag set")
    if version == V5:
        p.properties = r.properties(CONNECT)
    p.client_id = r.text()
    if flags & 4:
        qos = flags >> 3 & 3
        if qos == 3:
            raise ProtocolError("will of QoS 3")
        properties = r.properties("will") if version == V5 else {}
        p.will = Will(_topic(r.text()), r.binary(), qos, bool(flags & 0x20), properties)
    elif flags & 0x38:
        raise ProtocolError("will flags without a will")
    if flags & 0x80:
        p.username = r.text()
    if flags & 0x40:
        if version == V311 and not flags & 0x80:
            raise ProtocolError("password without user name")
        p.password = r.binary()
    return p


def _decode_publish(r, flags, v5):
    qos = flags >> 1 & 3
    if qos == 3:
        raise ProtocolError("PUBLISH of QoS 3")
    if flags & 8 and not qos:
        raise ProtocolError("DUP set on QoS 0", PROTOCOL_ERROR)
    p = Publish(r.text(), qos=qos, retain=bool(flags & 1), dup=bool(flags & 8))
    if qos:
        p.packet_id = r.packet_id()
    if v5:
        p.properties = r.properties(PUBLISH)
    _topic(p.topic, empty_allowed="topic_alias" in p.properties)
    p.payload = bytes(r.rest())
    return p


def _decode_filters(kind, r, v5):
    p = (Subscribe if kind == SUBSCRIBE else Unsubscribe)(r.packet_id(), [])
    if v5:
        p.properties = r.properties(kind)
    while r.left():
        f = r.text()
        if not filter_is_valid(f):
            raise ProtocolError(f"bad topic filter {f!r}", 0x8F)
        if kind == SUBSCRIBE:
            options = r.byte()
            if options & 3 == 3 or (options & 0xC0 if v5 else options & 0xFC) or (v5 and options >> 4 & 3 == 3):
                raise ProtocolError(f"bad subscription options 0x{options:02x}")
            p.filters.append((f, options))
        else:
            p.filters.append(f)
    if not p.filters:
        raise ProtocolError(f"{NAMES[kind]} without a filter", PROTOCOL_ERROR)
    return p


def _decode_ack(kind, r, v5):
    p = Ack(kind, r.packet_id())
    if v5 and r.left():
        p.reason = r.byte()
        if r.left():
            p.properties = r.properties(kind)
    return p


def _decode_suback(kind, r, v5):
    p = Suback(r.packet_id(), [], type=kind)
    if v5:
        p.properties = r.properties(kind)
    p.codes = list(r.rest())
    return p


def _decode_connack(r, v5):
    flags = r.byte()
    if flags & 0xFE:
        raise ProtocolError("reserved CONNACK flags set")
    p = Connack(r.byte(), bool(flags & 1))
    if v5:
        p.properties = r.properties(CONNACK)
    return p


def _decode_end(kind, r, v5):
    p = Disconnect() if kind == DISCONNECT else Auth()
    if v5 and r.left():
        p.reason = r.byte()
        if r.left():
            p.properties = r.properties(kind)
    return p


def decode_packet(first, body, version):
    """One packet from its first byte and what follows the remaining length."""
    kind, flags = first >> 4, first & 0x0F
    if kind != PUBLISH and flags != (2 if kind in (PUBREL, SUBSCRIBE, UNSUBSCRIBE) else 0):
        raise ProtocolError(f"reserved flags set in packet type {kind}")
    r = _Reader(body)
    v5 = version == V5
    if kind == CONNECT:
        p = _decode_connect(r)
    elif kind == CONNACK:
        p = _decode_connack(r, v5)
    elif kind == PUBLISH:
        p = _decode_publish(r, flags, v5)
    elif kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
        p = _decode_ack(kind, r, v5)
    elif kind in (SUBSCRIBE, UNSUBSCRIBE):
        p = _decode_filters(kind, r, v5)
    elif kind in (SUBACK, UNSUBACK):
        p = _decode_suback(kind, r, v5)
    elif kind in (PINGREQ, PINGRESP):
        p = Plain(kind)
    elif kind == DISCONNECT or (kind == AUTH and v5):
        p = _decode_end(kind, r, v5)
    else:
        raise ProtocolError(f"packet type {kind}")
    if r.left():
        raise ProtocolError(f"{r.left()} bytes behind the end of {NAMES[kind]}")
    return p


class Decoder:
    """Cuts a byte stream into packets. version None: a server, which learns it from CONNECT."""

    def __init__(self, version=None, max_packet=268435455):
        self.version = version
        self.max_packet = max_packet
        self.data = bytearray()

    def feed(self, data):
        """Yields every complete packet; ProtocolError ends the stream for good."""
        self.data += data
        at = 0
        try:
            while True:
                end = self._frame_end(at)
                if end is None:
                    return
                body_at, end = end
                first = self.data[at]
                body = bytes(self.data[body_at:end])
                at = end
                packet = decode_packet(first, body, self.version or V311)
                if packet.type == CONNECT:
                    self.version = packet.version
                yield packet
        finally:
            del self.data[:at]

    def _frame_end(self, at):
        """(start of body, end) of the frame at `at`; None while it is not complete."""
        length = 0
        for i in range(4):
            if at + 1 + i >= len(self.data):
                return None
            b = self.data[at + 1 + i]
            length |= (b & 0x7F) << 7 * i
            if not b & 0x80:
                if i and not b:
                    raise ProtocolError("remaining length longer than necessary")
                if 2 + i + length > self.max_packet:
                    raise ProtocolError(f"packet of {length} bytes", 0x95)
                end = at + 2 + i + length
                return (at + 2 + i, end) if end <= len(self.data) else None
        raise ProtocolError("remaining length of more than 4 bytes")
