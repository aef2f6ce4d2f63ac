"""What can be made to go wrong. A fault has a value and is used up after `count` uses (None: until it is cleared).

    accept            "close", "reset" or "silent" (no TLS handshake), or hex bytes to send before closing: instead of accepting
    connack           code to refuse with
    connack_delay     seconds before CONNACK
    no_connack        CONNECT stays without answer
    garbage           hex bytes sent after CONNACK
    close_after       publishes taken on a connection before it is closed
    reset_after       the same, with a TCP reset
    disconnect_after  [publishes, reason]: server DISCONNECT (3.1.1: just closed)
    discard           a publish is neither taken nor acknowledged
    no_puback         a publish is taken and not acknowledged
    puback            reason code (v5) of a PUBACK; the publish is not taken when it is an error
    puback_delay      seconds before each PUBACK
    suback            {filter: code}: refuses subscriptions to these filters
    no_suback         SUBSCRIBE stays without answer
    no_pingresp       PINGREQ stays without answer
    silent            nothing is read and nothing is sent, on every connection: a half-open link
    trickle           [bytes, seconds]: output leaves in pieces of so many bytes with pauses between
"""

NAMES = ("accept", "connack", "connack_delay", "no_connack", "garbage", "close_after", "reset_after", "disconnect_after",
         "discard", "no_puback", "puback", "puback_delay", "suback", "no_suback", "no_pingresp", "silent", "trickle")


class Faults:
    def __init__(self):
        self._faults = {}

    def set(self, name, value=True, count=None):
        if name not in NAMES:
            raise ValueError(f"no fault named {name}")
        self._faults[name] = [value, count]

    def clear(self, name=None):
        """One fault, or all."""
        if name is None:
            self._faults.clear()
        else:
            self._faults.pop(name, None)

    def peek(self, name):
        """The value without using it up; None when the fault is not set."""
        fault = self._faults.get(name)
        return fault[0] if fault else None

    def use(self, name):
        """The value, used once; None when the fault is not set."""
        fault = self._faults.get(name)
        if not fault:
            return None
        if fault[1] is not None:
            fault[1] -= 1
            if fault[1] <= 0:
                del self._faults[name]
        return fault[0]

    def state(self):
        return {name: {"value": v, "count": c} for name, (v, c) in self._faults.items()}
