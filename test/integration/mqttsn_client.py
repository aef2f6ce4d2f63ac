"""A small MQTT-SN 1.2 device for tests: encodes and decodes packets itself, sends and receives them one by one, and keeps every
datagram for a capture that tshark reads afterwards.

    d = Device(port, "dev1")            plain UDP; host="::1" for IPv6
    d.connect()                         CONNECT, the will handshake if will=(topic, message), CONNACK
    tid = d.register("a/b")
    d.publish(tid, b"x", qos=1)         waits for what QoS 1 and 2 need
    d.subscribe("cmd/#", qos=1)
    message = d.receive()               answers REGISTER, PUBLISH and PUBREL as a good device does
"""

import select
import socket
import struct
import time

(ADVERTISE, SEARCHGW, GWINFO, CONNECT, CONNACK, WILLTOPICREQ, WILLTOPIC, WILLMSGREQ, WILLMSG, REGISTER, REGACK, PUBLISH,
 PUBACK, PUBCOMP, PUBREC, PUBREL, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, WILLTOPICUPD,
 WILLTOPICRESP, WILLMSGUPD, WILLMSGRESP, FORWARDER) = (
    0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10, 0x12, 0x13, 0x14, 0x15,
    0x16, 0x17, 0x18, 0x1a, 0x1b, 0x1c, 0x1d, 0xfe)

NORMAL, PREDEFINED, SHORT = 0, 1, 2
ACCEPTED, CONGESTION, INVALID_TOPIC_ID, NOT_SUPPORTED = 0, 1, 2, 3
DUP, RETAIN, WILL, CLEAN = 0x80, 0x10, 0x08, 0x04


def qos_bits(qos):
    return (qos & 3) << 5


def packet(kind, body=b""):
    size = len(body) + 2
    if size <= 255:
        return bytes([size, kind]) + body
    return b"\x01" + struct.pack("!H", size + 2) + bytes([kind]) + body


class Packet:
    """One decoded packet; attributes as far as the type has them."""

    def __init__(self, data):
        self.data = data
        if data[0] == 1:
            length, kind, body = struct.unpack_from("!H", data, 1)[0], data[3], data[4:]
        else:
            length, kind, body = data[0], data[1], data[2:]
        assert length == len(data), data.hex()
        self.kind, self.body = kind, body
        if kind == PUBLISH:
            self.flags, self.topic_id, self.msg_id = struct.unpack_from("!BHH", body)
            self.payload, self.qos = body[5:], self.flags >> 5 & 3
            self.dup, self.retain, self.topic_type = bool(self.flags & DUP), bool(self.flags & RETAIN), self.flags & 3
        elif kind in (REGACK, PUBACK):
            self.topic_id, self.msg_id, self.code = struct.unpack("!HHB", body)
        elif kind == REGISTER:
            self.topic_id, self.msg_id = struct.unpack_from("!HH", body)
            self.topic = body[4:].decode()
        elif kind == SUBACK:
            self.flags, self.topic_id, self.msg_id, self.code = struct.unpack("!BHHB", body)
            self.qos = self.flags >> 5 & 3
        elif kind in (PUBREC, PUBREL, PUBCOMP, UNSUBACK):
            self.msg_id = struct.unpack("!H", body)[0]
        elif kind in (CONNACK, WILLTOPICRESP, WILLMSGRESP):
            self.code = body[0]
        elif kind == GWINFO:
            self.gateway_id = body[0]
        elif kind == ADVERTISE:
            self.gateway_id, self.duration = struct.unpack("!BH", body)

    def __repr__(self):
        return f"<{self.kind:#04x} {self.data.hex()}>"


class Transport:
    """Plain UDP."""

    def __init__(self, port, host="127.0.0.1", bind=None):
        info = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        self.socket = socket.socket(info[0], socket.SOCK_DGRAM)
        if bind:
            self.socket.bind(bind)
        self.target = info[4]

    def send(self, data):
        self.socket.sendto(data, self.target)

    def receive(self, timeout):
        if not select.select([self.socket], [], [], max(timeout, 0))[0]:
            return None
        return self.socket.recvfrom(65536)[0]

    def close(self):
        self.socket.close()


class Device:
    captured = []  # (direction 0 = to the gateway, datagram), of all devices of the run

    def __init__(self, port, client_id, host="127.0.0.1", transport=None, node=None, timeout=15):
        self.client_id = client_id
        self.transport = transport or Transport(port, host)
        self.node = node      # behind a forwarder: node id bytes
        self.timeout = timeout
        self.msg_id = 0
        self.topics = {}      # id -> name, told by the gateway or asked for
        self.waiting = []     # messages that came while something else was awaited
        self.pings = 0        # PINGRESP that came while something else was awaited
        self.refuse = {}      # topic name -> return code of our REGACK
        self.silent = False   # answers nothing
        self.released = set() # QoS 2 message ids taken and not yet released

    def close(self):
        self.transport.close()

    # --- datagrams

    def send_raw(self, data):
        Device.captured.append((0, data))
        if self.node is not None:
            data = bytes([3 + len(self.node), FORWARDER, 1]) + self.node + data
        self.transport.send(data)

    def send(self, kind, body=b""):
        self.send_raw(packet(kind, body))

    def receive_raw(self, timeout=None):
        """The next packet as it comes, or None."""
        data = self.transport.receive(self.timeout if timeout is None else timeout)
        if data is None:
            return None
        if self.node is not None:
            head = 3 + len(self.node)
            assert data[0] == head and data[1] == FORWARDER and data[3:head] == self.node, data.hex()
            data = data[head:]
        Device.captured.append((1, data))
        return Packet(data)

    def next_id(self):
        self.msg_id = self.msg_id % 65535 + 1
        return self.msg_id

    # --- a good device

    def _handle(self, p):
        """Answers what has to be answered; a finished message goes to self.waiting."""
        if self.silent:
            return
        if p.kind == REGISTER:
            code = self.refuse.get(p.topic, ACCEPTED)
            if code == ACCEPTED:
                self.topics[p.topic_id] = p.topic
            self.send(REGACK, struct.pack("!HHB", p.topic_id, p.msg_id, code))
        elif p.kind == PUBLISH:
            known = p.topic_type != NORMAL or p.topic_id in self.topics
            if not known:
                self.send(PUBACK, struct.pack("!HHB", p.topic_id, p.msg_id, INVALID_TOPIC_ID))
                return
            if p.topic_type == NORMAL:
                p.topic = self.topics[p.topic_id]
            elif p.topic_type == SHORT:
                p.topic = struct.pack("!H", p.topic_id).decode()
            else:
                p.topic = p.topic_id
            if p.qos == 1:
                self.send(PUBACK, struct.pack("!HHB", p.topic_id, p.msg_id, ACCEPTED))
            if p.qos == 2:
                self.send(PUBREC, struct.pack("!H", p.msg_id))
                if p.msg_id in self.released:
                    return
                self.released.add(p.msg_id)
            self.waiting.append(p)
        elif p.kind == PUBREL:
            self.released.discard(p.msg_id)
            self.send(PUBCOMP, struct.pack("!H", p.msg_id))
        elif p.kind == PINGRESP:
            self.pings += 1

    def wait(self, *kinds, timeout=None, msg_id=None):
        """The next packet of these kinds; whatever else comes is handled. None after the timeout."""
        end = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            p = self.receive_raw(end - time.monotonic())
            if p is None:
                return None
            if p.kind in kinds and (msg_id is None or getattr(p, "msg_id", msg_id) == msg_id):
                return p
            self._handle(p)

    def expect(self, *kinds, **more):
        p = self.wait(*kinds, **more)
        assert p is not None, f"{self.client_id}: no {[hex(k) for k in kinds]} came"
        return p

    def receive(self, timeout=None):
        """The next message (topic, payload, qos, retain, dup), or None."""
        end = time.monotonic() + (self.timeout if timeout is None else timeout)
        while not self.waiting:
            p = self.receive_raw(end - time.monotonic())
            if p is None:
                return None
            self._handle(p)
        return self.waiting.pop(0)

    def quiet(self, seconds):
        """Nothing at all comes for so long."""
        p = self.receive_raw(seconds)
        assert p is None, p

    # --- requests

    def send_connect(self, clean=True, keepalive=60, will=False, protocol=1):
        flags = (CLEAN if clean else 0) | (WILL if will else 0)
        self.send(CONNECT, struct.pack("!BBH", flags, protocol, keepalive) + self.client_id.encode())

    def connect(self, clean=True, keepalive=60, will=None, code=ACCEPTED, timeout=None):
        """will: (topic, message[, qos[, retain]])."""
        self.send_connect(clean, keepalive, will is not None)
        if clean:
            self.topics.clear()
        if will is not None:
            self.expect(WILLTOPICREQ)
            topic, message, *rest = will
            qos, retain = (rest + [0, False])[:2] if len(rest) < 2 else rest[:2]
            if topic:
                self.send(WILLTOPIC, bytes([qos_bits(qos) | (RETAIN if retain else 0)]) + topic.encode())
                self.expect(WILLMSGREQ)
                self.send(WILLMSG, message)
            else:
                self.send(WILLTOPIC)
        p = self.expect(CONNACK, timeout=timeout)
        assert p.code == code, p
        return self

    def register(self, topic, code=ACCEPTED):
        msg_id = self.next_id()
        self.send(REGISTER, struct.pack("!HH", 0, msg_id) + topic.encode())
        p = self.expect(REGACK, msg_id=msg_id)
        assert p.code == code, p
        if code == ACCEPTED:
            self.topics[p.topic_id] = topic
        return p.topic_id

    def send_publish(self, topic, payload, qos=0, kind=NORMAL, retain=False, dup=False, msg_id=None):
        """topic: an id, or two characters with kind=SHORT. Returns the message id."""
        if kind == SHORT and isinstance(topic, str):
            topic = struct.unpack("!H", topic.encode())[0]
        if msg_id is None:
            msg_id = self.next_id() if qos in (1, 2) else 0
        flags = qos_bits(qos) | kind | (RETAIN if retain else 0) | (DUP if dup else 0)
        self.send(PUBLISH, struct.pack("!BHH", flags, topic, msg_id) + payload)
        return msg_id

    def publish(self, topic, payload, qos=0, code=ACCEPTED, timeout=None, **more):
        msg_id = self.send_publish(topic, payload, qos, **more)
        if qos == 1 or code != ACCEPTED:
            p = self.expect(PUBACK, msg_id=msg_id, timeout=timeout)
            assert p.code == code, p
        elif qos == 2:
            self.expect(PUBREC, msg_id=msg_id, timeout=timeout)
            self.send(PUBREL, struct.pack("!H", msg_id))
            self.expect(PUBCOMP, msg_id=msg_id, timeout=timeout)
        return msg_id

    def subscribe(self, topic, qos=0, kind=NORMAL, code=ACCEPTED, verb=SUBSCRIBE):
        """topic: name, or id, or two characters. Returns the SUBACK."""
        msg_id = self.next_id()
        tail = topic.encode() if isinstance(topic, str) else struct.pack("!H", topic)
        self.send(verb, struct.pack("!BH", qos_bits(qos) | kind, msg_id) + tail)
        if verb == UNSUBSCRIBE:
            return self.expect(UNSUBACK, msg_id=msg_id)
        p = self.expect(SUBACK, msg_id=msg_id)
        assert p.code == code, p
        if code == ACCEPTED and kind == NORMAL and p.topic_id:
            self.topics[p.topic_id] = topic
        return p

    def unsubscribe(self, topic, kind=NORMAL):
        return self.subscribe(topic, 0, kind, verb=UNSUBSCRIBE)

    def ping(self, timeout=None):
        self.send(PINGREQ)
        return self.expect(PINGRESP, timeout=timeout)

    def wake(self, timeout=None):
        """PINGREQ with the client id; the messages that come before PINGRESP."""
        self.send(PINGREQ, self.client_id.encode())
        self.expect(PINGRESP, timeout=timeout)
        messages, self.waiting = self.waiting, []
        return messages

    def sleep(self, seconds):
        self.send(DISCONNECT, struct.pack("!H", seconds))
        self.expect(DISCONNECT)

    def disconnect(self):
        self.send(DISCONNECT)
        self.expect(DISCONNECT)

    def update_will(self, topic=None, message=None, qos=0, retain=False, code=ACCEPTED):
        if topic is not None:
            self.send(WILLTOPICUPD, bytes([qos_bits(qos) | (RETAIN if retain else 0)]) + topic.encode() if topic else b"")
            assert self.expect(WILLTOPICRESP).code == code
        if message is not None:
            self.send(WILLMSGUPD, message)
            assert self.expect(WILLMSGRESP).code == code
