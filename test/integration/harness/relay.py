"""A TCP relay: a network link that can be cut (connections reset, nothing answers), frozen (half-open: all stays connected, no
byte passes) and made slow, on command. Runs in a thread."""

import selectors
import socket
import struct
import threading
import time

from .process import free_port


class Relay:
    """Relays 127.0.0.1:port to the target port.

    cut()      resets every connection and refuses new ones until mend()
    freeze()   bytes stop in both directions; connections stay, new ones are accepted and hear nothing; until mend()
    mend()     the link works again
    chunk      bytes passed on at a time; delay: seconds between chunks (byte-by-byte: chunk 1)
    """

    def __init__(self, target, chunk=65536, delay=0.0):
        self.target = target
        self.port = free_port()
        self.chunk, self.delay = chunk, delay
        self.accepted = 0
        self._frozen = False
        self._pairs = {}
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._running = True
        self._listener = None
        self._wake, self._wake_far = socket.socketpair()
        self._selector.register(self._wake_far, selectors.EVENT_READ)
        self._listen()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self):
        with self._lock:
            self._unlisten()
            for s in list(self._pairs):
                self._reset(s)
        self._poke()

    def freeze(self):
        with self._lock:
            self._frozen = True
        self._poke()

    def mend(self):
        with self._lock:
            self._frozen = False
            if not self._listener:
                self._listen()
        self._poke()

    def connections(self):
        with self._lock:
            return len(self._pairs) // 2

    def close(self):
        self._running = False
        self._poke()
        self._thread.join(5)
        with self._lock:
            self._unlisten()
            for s in list(self._pairs):
                self._drop(s)
        self._wake.close()
        self._wake_far.close()
        self._selector.close()

    # -- inside

    def _poke(self):
        try:
            self._wake.send(b"x")
        except OSError:
            pass

    def _listen(self):
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self.port))
        self._listener.listen(64)
        self._selector.register(self._listener, selectors.EVENT_READ)

    def _unlisten(self):
        if self._listener:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None

    def _reset(self, s):
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._drop(s)

    def _drop(self, s):
        if s in self._pairs:
            self._pairs.pop(s)
            self._selector.unregister(s)
            s.close()

    def _accept(self):
        near, _ = self._listener.accept()
        self.accepted += 1
        try:
            far = socket.create_connection(("127.0.0.1", self.target), 5)
        except OSError:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            near.close()
            return
        for s, other in ((near, far), (far, near)):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            s.settimeout(5)
            self._pairs[s] = other
            self._selector.register(s, selectors.EVENT_READ)

    def _pass_on(self, s):
        other = self._pairs[s]
        try:
            data = s.recv(65536)
            if data:
                for i in range(0, len(data), self.chunk):
                    other.sendall(data[i:i + self.chunk])
                    if self.delay:
                        time.sleep(self.delay)
                return
            self._drop(other)
            self._drop(s)
        except OSError:
            for one in (other, s):
                if one in self._pairs:
                    self._reset(one)

    def _run(self):
        while self._running:
            events = self._selector.select(0.5 if not self._frozen else 0.05)
            with self._lock:
                for key, _ in events:
                    s = key.fileobj
                    if s is self._wake_far:
                        s.recv(64)
                    elif s is self._listener:
                        self._accept()
                    elif s in self._pairs and not self._frozen:
                        self._pass_on(s)
                frozen = self._frozen
            if frozen:
                time.sleep(0.02)
