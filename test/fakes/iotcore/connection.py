"""One MQTT connection as IoT Core treats it."""

import asyncio
import contextlib
import socket
import struct
import time

import mqtt_codec as m

from limits import Bucket, filter_problem, is_shadow_update, topic_problem

ALPN = "x-amzn-mqtt-ca"

# CONNACK codes of 3.1.1 for those of 5
CONNACK_V3 = {0x85: 2, 0x97: 3, 0x88: 3, 0x87: 7, 0x84: 1}


class Connection(asyncio.Protocol):
    """One connection: first CONNECT, then everything else."""

    def __init__(self, gate, number, alpn):
        self.gate, self.number, self.alpn = gate, number, alpn
        self.decoder = m.Decoder()
        self.out = bytearray()
        self.connect = None
        self.assigned = False  # the client identifier is ours
        self.session = None
        self.ended = None
        self.publishes = 0
        self.unacknowledged = set()
        self.aliases = {}
        self.last_heard = time.monotonic()
        self.trickling = None
        self.alive_timer = None
        self.swallowed = False  # bytes came while the link was half-open
        limits = gate.limits
        self.rate = Bucket(limits.publishes_per_second, limits.publishes_burst)
        self.bytes = Bucket(limits.bytes_per_second, limits.bytes_per_second)
        self.drain_rate = None

    # -- transport

    def connection_made(self, transport):
        self.transport = transport
        transport.set_write_buffer_limits(high=1 << 20)
        tls = transport.get_extra_info("ssl_object")
        subject = dict(x[0] for x in (transport.get_extra_info("peercert") or {}).get("subject", ()))
        alpn = tls.selected_alpn_protocol()
        self.gate.connections[self.number] = self
        self.event("tls", version=tls.version(), cipher=tls.cipher()[0], alpn=alpn,
                   server_name=getattr(tls, "server_name_seen", None), subject=subject.get("commonName"))
        if self.alpn and alpn != ALPN:
            self.violation("no ALPN on port 443")
        self.check_alive()

    def connection_lost(self, exc):
        self.gate.connections.pop(self.number, None)
        if self.connect and self.gate.by_client.get(self.connect.client_id) is self:
            del self.gate.by_client[self.connect.client_id]
            self.session.ended = time.monotonic()
            self.session.requeue_sent()
        self.event("closed", why=self.ended or (str(exc) if exc else "by the client"))

    def event(self, name, **details):
        self.gate.record.event(name, self.number, **details)

    def data_received(self, data):
        if self.ended:
            return
        if self.gate.faults.peek("silent"):
            self.swallowed = True
            return
        self.last_heard = time.monotonic()
        try:
            for p in self.decoder.feed(data):
                self.on_packet(p)
                if self.ended:
                    return
        except m.ProtocolError as e:
            self.violation(str(e), e.reason)
        self.flush()

    def send(self, packet):
        self.out += m.encode(packet, self.version())

    def version(self):
        return self.decoder.version or m.V311

    def flush(self):
        """Writes what send() has collected."""
        if not self.out or self.gate.faults.peek("silent"):
            self.out.clear()
            return
        data, self.out = bytes(self.out), bytearray()
        trickle = self.gate.faults.peek("trickle")
        if self.trickling:
            self.trickling += data
        elif trickle:
            self.trickling = bytearray(data)
            self.gate.spawn(self._trickle(*trickle))
        else:
            self.transport.write(data)

    async def _trickle(self, size, pause):
        while self.trickling and not self.transport.is_closing():
            self.transport.write(bytes(self.trickling[:size]))
            del self.trickling[:size]
            await asyncio.sleep(pause)
        self.trickling = None

    def end(self, why, reset=False):
        """Closes the connection."""
        if self.ended:
            return
        self.flush()
        self.ended = why
        if reset:
            raw = self.transport.get_extra_info("socket")
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        else:
            self.transport.close()

    def end_with(self, reason, why):
        """DISCONNECT with a reason (v5), then close."""
        if self.version() == m.V5 and self.connect:
            self.send(m.Disconnect(reason))
        self.end(why)

    def violation(self, what, reason=m.PROTOCOL_ERROR):
        self.event("violation", what=what, reason=reason)
        self.end_with(reason, what)

    def check_alive(self):
        """Keep-alive: silence of 1.5 times the interval ends the connection."""
        if self.ended or self.transport.is_closing():
            return
        limit = 1.5 * self.keepalive if self.connect else 30
        silent_for = time.monotonic() - self.last_heard
        if silent_for >= limit:
            self.violation("keep-alive timeout" if self.connect else "no CONNECT", 0x8D)
            return
        if self.alive_timer:
            self.alive_timer.cancel()
        self.alive_timer = asyncio.get_running_loop().call_later(limit - silent_for + 0.01, self.check_alive)

    # -- packets

    def on_packet(self, p):
        if self.connect is None:
            if p.type != m.CONNECT:
                self.violation(f"{m.NAMES[p.type]} before CONNECT")
                return
            self.on_connect(p)
            return
        if not self.session:
            self.violation(f"{m.NAMES[p.type]} before CONNACK")
            return
        handler = {m.PUBLISH: self.on_publish, m.PUBACK: self.on_puback, m.SUBSCRIBE: self.on_subscribe,
                   m.UNSUBSCRIBE: self.on_unsubscribe, m.PINGREQ: self.on_pingreq, m.DISCONNECT: self.on_disconnect}
        if p.type not in handler:
            self.violation(f"unexpected {m.NAMES[p.type]}")
        else:
            handler[p.type](p)

    def on_connect(self, p):
        self.connect = p
        limits, faults = self.gate.limits, self.gate.faults
        self.keepalive = min(max(p.keepalive, limits.keepalive_min), limits.keepalive_max) if p.keepalive \
            else limits.keepalive_max
        self.check_alive()
        self.event("connect", client_id=p.client_id, version=p.version, clean=p.clean_start, keepalive=p.keepalive,
                   username=p.username, will=p.will and vars(p.will), properties=p.properties)
        code = faults.use("connack")
        if code is None:
            code = self._connect_problem(p, limits)
        delay = faults.use("connack_delay")
        if faults.use("no_connack"):
            return
        if delay:
            asyncio.get_running_loop().call_later(delay, self._connack_later, code)
        else:
            self.connack(code)

    def _connack_later(self, code):
        if not self.ended:
            self.connack(code)
            self.flush()

    def _connect_problem(self, p, limits):
        """The v5 reason why this CONNECT is refused, 0 for none."""
        if len(p.client_id.encode()) > limits.client_id_bytes or p.client_id.startswith("$"):
            return 0x85
        if not p.client_id:
            p.client_id = f"assigned-{self.number}"
            self.assigned = True
        if limits.connects_per_second:
            bucket = self.gate.connect_rate.setdefault(p.client_id, Bucket(limits.connects_per_second, 1))
            if not bucket.take():
                return 0x97
        return 0

    def connack(self, code):
        v5 = self.version() == m.V5
        if code:
            if not v5 and code >= 0x80:
                code = CONNACK_V3.get(code, 5)
            self.event("connack", code=code)
            self.send(m.Connack(code))
            self.end(f"refused with {code}")
            return
        self._take_over()
        limits, p = self.gate.limits, self.connect
        self.session, present = self.gate.sessions.open(p.client_id, p.clean_start)
        self.session.expires = 0
        if v5:
            self.session.expires = min(p.properties.get("session_expiry_interval", 0), limits.session_seconds)
        elif not p.clean_start:
            self.session.expires = limits.session_seconds
        self.gate.by_client[p.client_id] = self
        properties = {}
        if v5:
            properties = {"session_expiry_interval": int(self.session.expires),
                          "receive_maximum": limits.unacknowledged_in, "maximum_qos": 1, "retain_available": 1,
                          "maximum_packet_size": limits.maximum_packet_size,
                          "topic_alias_maximum": limits.topic_alias_maximum, "wildcard_subscription_available": 1,
                          "subscription_identifier_available": 0, "shared_subscription_available": 1,
                          "server_keep_alive": self.keepalive}
            if self.assigned:
                properties["assigned_client_identifier"] = p.client_id
        self.event("connack", code=0, session_present=present)
        self.send(m.Connack(0, present, properties))
        garbage = self.gate.faults.use("garbage")
        if garbage:
            self.out += bytes.fromhex(garbage)
        if self.session.queue:
            self.drain_rate = limits.queued_per_second
            self.gate.spawn(self._drain())

    def _take_over(self):
        old = self.gate.by_client.get(self.connect.client_id)
        if old:
            self.gate.record.event("takeover", old.number, by=self.number)
            old.end_with(0x8E, "taken over")

    async def _drain(self):
        """Sends what waited in the session, slowly."""
        while self.session.queue and not self.ended:
            self.send_queued(1)
            self.flush()
            await asyncio.sleep(1 / self.drain_rate)
        self.drain_rate = None

    # -- client to server

    def on_publish(self, p):
        limits, faults, record = self.gate.limits, self.gate.faults, self.gate.record
        wait = self.bytes.debt(len(p.payload))
        if wait > 0:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(wait, self._resume)
        problem = self._alias_problem(p, limits) or self._publish_problem(p, limits)
        if problem:
            record.publish(self.number, p, "closed")
            self.violation(*problem)
            return
        if p.qos == 2:
            record.publish(self.number, p, "discarded")
            return
        if p.qos:
            self.unacknowledged.add(p.packet_id)
        if not self.rate.take() or faults.use("discard"):
            record.publish(self.number, p, "discarded")
            return
        self.publishes += 1
        code = faults.use("puback") if p.qos else None
        if code is not None and code >= 0x80 and self.version() == m.V5:
            record.publish(self.number, p, "refused")
            self._acknowledge(p.packet_id, code)
        else:
            withheld = p.qos and faults.use("no_puback")
            record.publish(self.number, p, "unacknowledged" if withheld else "accepted")
            if p.qos and not withheld:
                self._acknowledge(p.packet_id, code or 0)
            self._take(p)
        self._end_after_publish(faults)

    def _resume(self):
        if not self.ended and not self.transport.is_closing():
            self.transport.resume_reading()

    def _alias_problem(self, p, limits):
        alias = p.properties.pop("topic_alias", None)
        if alias is None:
            return None
        if not 1 <= alias <= limits.topic_alias_maximum:
            return (f"topic alias {alias}", 0x94)
        if p.topic:
            self.aliases[alias] = p.topic
        elif alias not in self.aliases:
            return ("unknown topic alias", m.PROTOCOL_ERROR)
        else:
            p.topic = self.aliases[alias]
        return None

    def _publish_problem(self, p, limits):
        """(what, reason) for which the connection is ended, or None."""
        if p.qos == 2 and self.version() == m.V5:
            return ("QoS 2", 0x9B)
        if len(p.payload) > limits.payload:
            return ("payload too large", 0x95)
        topic = topic_problem(p.topic, limits)
        if topic:
            return (topic, 0x90)
        if p.retain and p.topic.startswith("$"):
            return ("retained on a reserved topic", 0x9A)
        if p.qos and p.packet_id in self.unacknowledged:
            return ("packet identifier in use", m.PROTOCOL_ERROR)
        if p.qos and len(self.unacknowledged) >= limits.unacknowledged_in:
            return ("Receive Maximum exceeded", 0x93)
        return None

    def _acknowledge(self, packet_id, code):
        delay = self.gate.faults.peek("puback_delay")
        if delay:
            asyncio.get_running_loop().call_later(delay, self._acknowledge_now, packet_id, code, True)
        else:
            self._acknowledge_now(packet_id, code)

    def _acknowledge_now(self, packet_id, code, flush=False):
        if not self.ended:
            self.unacknowledged.discard(packet_id)
            self.send(m.Ack(m.PUBACK, packet_id, code))
            if flush:
                self.flush()

    def _take(self, p):
        """What the cloud does with a message."""
        if p.retain and p.payload:
            self.gate.sessions.retained[p.topic] = p
        elif p.retain:
            self.gate.sessions.retained.pop(p.topic, None)
        if is_shadow_update(p.topic):
            accepted = len(p.payload) <= self.gate.limits.shadow_document
            answer = b"{}" if accepted else b'{"code":413,"message":"The payload exceeds the maximum size allowed"}'
            self.gate.deliver(m.Publish(p.topic + ("/accepted" if accepted else "/rejected"), answer, 1), None)
        self.gate.deliver(p, self.connect.client_id)

    def _end_after_publish(self, faults):
        for name in ("close_after", "reset_after"):
            if faults.peek(name) is not None and self.publishes >= faults.peek(name):
                faults.use(name)
                self.end(name, reset=name == "reset_after")
                return
        after = faults.peek("disconnect_after")
        if after and self.publishes >= after[0]:
            faults.use("disconnect_after")
            self.end_with(after[1], "disconnect_after")

    def on_subscribe(self, p):
        limits, faults = self.gate.limits, self.gate.faults
        if len(p.filters) > limits.filters_per_subscribe:
            self.violation("too many filters in SUBSCRIBE", 0x97)
            return
        refused = faults.peek("suback") or {}
        failure = 0x80 if self.version() == m.V311 else None
        codes, retained = [], []
        for f, options in p.filters:
            code = refused.get(f)
            if code is None and filter_problem(f, limits):
                code = 0x8F
            if code is None and f not in self.session.subscriptions \
                    and len(self.session.subscriptions) >= limits.subscriptions:
                code = 0x97
            if code is not None:
                codes.append(failure or code)
                continue
            self.session.subscriptions[f] = options
            codes.append(min(options & 3, 1))
            if "+" not in f and "#" not in f and f in self.gate.sessions.retained:
                retained.append((self.gate.sessions.retained[f], options & 1))
        self.event("subscribe", filters=p.filters, codes=codes)
        if faults.use("no_suback"):
            return
        self.send(m.Suback(p.packet_id, codes))
        for message, qos in retained:
            self.session.queue.append(m.Publish(message.topic, message.payload, min(qos, message.qos), True,
                                                properties=dict(message.properties)))
        self.send_queued()

    def on_unsubscribe(self, p):
        codes = [0 if self.session.subscriptions.pop(f, None) is not None else 0x11 for f in p.filters]
        self.event("unsubscribe", filters=p.filters)
        self.send(m.Suback(p.packet_id, codes, type=m.UNSUBACK))

    def on_pingreq(self, _p):
        if not self.gate.faults.use("no_pingresp"):
            self.send(m.Plain(m.PINGRESP))

    def on_disconnect(self, p):
        self.event("disconnect", reason=p.reason)
        self.end("by the client's DISCONNECT")

    # -- server to client

    def send_queued(self, at_most=None):
        """Sends what waits in the session, as far as the client's window allows."""
        if self.drain_rate and at_most is None:
            return
        window = min(self.gate.limits.unacknowledged_out, self.connect.properties.get("receive_maximum", 65535))
        queue, sent = self.session.queue, self.session.sent
        while queue and at_most != 0 and not self.ended:
            if queue[0].qos and len(sent) >= window:
                break
            p = queue.popleft()
            if p.qos:
                p.packet_id = self.session.next_id()
                sent[p.packet_id] = p
            self.send(p)
            at_most = None if at_most is None else at_most - 1
        if at_most is None:
            asyncio.get_running_loop().call_soon(self.flush)

    def on_puback(self, p):
        known = self.session.sent.pop(p.packet_id, None)
        self.event("puback", packet_id=p.packet_id, reason=p.reason, topic=known and known.topic)
        if not known:
            self.violation("PUBACK of an unknown packet identifier")
            return
        self.send_queued()
