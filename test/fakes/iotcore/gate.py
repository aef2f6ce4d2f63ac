"""Accepting and TLS: what stands before an MQTT connection, and what connections share."""

import asyncio
import socket
import ssl
import struct

import mqtt_codec as m

from connection import ALPN, Connection
from faults import Faults
from limits import Limits
from record import Record
from session import Sessions


class Gate:
    """The server: its certificates, limits, faults and everything connected to it."""

    def __init__(self, options):
        self.options = options
        self.limits = Limits()
        self.faults = Faults()
        self.record = Record(options.record)
        self.sessions = Sessions()
        self.connections = {}  # number -> Connection
        self.by_client = {}    # client identifier -> Connection
        self.connect_rate = {}
        self.number = 0
        self._held = []  # sockets that were accepted and left alone
        self._tasks = set()

    def context(self, alpn):
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        c.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.options.tls_max == "1.2":
            c.maximum_version = ssl.TLSVersion.TLSv1_2
        c.load_cert_chain(self.options.cert, self.options.key)
        if self.options.ciphers:
            c.set_ciphers(self.options.ciphers)
        c.load_verify_locations(self.options.cafile)
        c.verify_mode = ssl.CERT_REQUIRED
        if alpn:
            c.set_alpn_protocols([ALPN])
        c.sni_callback = self._on_sni
        return c

    def _on_sni(self, tls, name, _context):
        tls.server_name_seen = name
        if name not in self.options.name:
            self.record.event("tls_failed", why="no server name" if name is None else f"server name {name}")
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        return None

    def spawn(self, coroutine):
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def listen(self, port, alpn=False):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.options.address, port))
        listener.listen(128)
        listener.setblocking(False)
        self.spawn(self._accept(listener, alpn))

    async def _accept(self, listener, alpn):
        loop = asyncio.get_running_loop()
        while True:
            s, _ = await loop.sock_accept(listener)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.number += 1
            self.record.event("accept", self.number)
            fault = self.faults.use("accept")
            if fault:
                self._refuse(s, fault)
            elif self.faults.peek("silent"):
                self._held.append(s)
            else:
                self.spawn(self._handshake(s, self.number, alpn))

    def _refuse(self, s, fault):
        if fault == "silent":
            self._held.append(s)
            return
        if fault == "reset":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif fault != "close":
            s.send(bytes.fromhex(fault))
        s.close()

    async def _handshake(self, s, number, alpn):
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: Connection(self, number, alpn), s, ssl=self.context(alpn),
                                               ssl_handshake_timeout=10)
        except (OSError, ssl.SSLError, ConnectionError) as e:
            self.record.event("tls_failed", number, why=str(e))
            s.close()

    def deliver(self, p, from_client):
        """Hands a message to every session that subscribed to it."""
        for session in self.sessions:
            qos = session.wants(p.topic, from_client, self.limits.no_local)
            if qos is None:
                continue
            session.queue.append(m.Publish(p.topic, p.payload, min(qos, p.qos), False,
                                           properties=dict(p.properties)))
            connection = self.by_client.get(session.client_id)
            if connection:
                connection.send_queued()

    def end_silence(self):
        """Ends the connections that were left alone and those from which bytes were lost meanwhile."""
        for s in self._held:
            s.close()
        self._held.clear()
        for c in list(self.connections.values()):
            if c.swallowed:
                c.end("bytes lost", reset=True)
