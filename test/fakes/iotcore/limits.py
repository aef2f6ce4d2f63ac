"""Limits of IoT Core's message broker and its rules for topics. Each can be changed at run time by its name."""

import re
import time
from dataclasses import dataclass, fields


@dataclass
class Limits:
    publishes_per_second: float = 100   # inbound, per connection; more is discarded without PUBACK; 0 = no limit
    publishes_burst: float = 100        # how many of them at once
    bytes_per_second: float = 512 * 1024  # per connection; more is delayed; 0 = no limit
    unacknowledged_in: int = 100        # QoS 1 publishes that we have not acknowledged (v5: Receive Maximum)
    unacknowledged_out: int = 100       # QoS 1 publishes that the client has not acknowledged
    payload: int = 128 * 1024
    topic_bytes: int = 256
    topic_slashes: int = 7
    client_id_bytes: int = 128
    connects_per_second: float = 1      # per client identifier; 0 = no limit
    keepalive_min: int = 30
    keepalive_max: int = 1200
    filters_per_subscribe: int = 8
    subscriptions: int = 50             # per connection
    topic_alias_maximum: int = 8
    maximum_packet_size: int = 149504
    shadow_document: int = 8 * 1024
    session_seconds: float = 3600       # a persistent session without a connection
    queued_per_second: float = 10       # delivery of what waited in a persistent session
    no_local: bool = False              # honour the v5 subscription option

    def change(self, name, value):
        """Sets a limit; ValueError for one that does not exist."""
        kinds = {f.name: f.type for f in fields(self)}
        if name not in kinds:
            raise ValueError(f"no limit named {name}")
        setattr(self, name, kinds[name](value))


class Bucket:
    """Token bucket; rate 0 = no limit."""

    def __init__(self, rate, burst):
        self.rate, self.burst, self.tokens, self.last = rate, burst, burst, time.monotonic()

    def _refill(self):
        now = time.monotonic()
        self.tokens = min(self.burst, self.tokens + (now - self.last) * self.rate)
        self.last = now

    def take(self, n=1):
        """True if n were there and are taken."""
        if not self.rate:
            return True
        self._refill()
        if self.tokens < n:
            return False
        self.tokens -= n
        return True

    def debt(self, n):
        """Takes n in any case; seconds until the bucket is out of debt."""
        if not self.rate:
            return 0
        self._refill()
        self.tokens -= n
        return max(0, -self.tokens / self.rate)


# Reserved topics that a device may publish to ("Reserved topics" in the developer guide).
_PUBLISHABLE = re.compile(
    r"\$aws/(rules/[A-Za-z0-9_]+/.+"
    r"|things/[^/]+/shadow/(name/[^/]+/)?(get|update|delete)"
    r"|things/[^/]+/jobs/(get|start-next|[^/]+/(get|update))"
    r"|things/[^/]+/defender/metrics/(json|cbor)"
    r"|things/[^/]+/streams/[^/]+/(describe|get)/(json|cbor)"
    r"|commands/[^/]+/[^/]+/executions/[^/]+/response(/json|/cbor)?"
    r"|device_location/[^/]+/get_position_estimate"
    r"|certificates/create(-from-csr)?/(json|cbor)"
    r"|provisioning-templates/[^/]+/provision/(json|cbor)"
    r"|sitewise/asset-models/[^/]+/.+)")
_SHADOW_UPDATE = re.compile(r"\$aws/things/[^/]+/shadow/(name/[^/]+/)?update")


def slashes(topic):
    """Slashes that count: not those of $aws/rules/RULE/."""
    return re.sub(r"^\$aws/rules/[^/]*/", "", topic).count("/")


def topic_problem(topic, limits):
    """Why IoT Core ends a connection over this topic name, or None."""
    if len(topic.encode()) > limits.topic_bytes:
        return "topic too long"
    if slashes(topic) > limits.topic_slashes:
        return "too many slashes"
    if topic.startswith("$") and not _PUBLISHABLE.fullmatch(topic):
        return "reserved topic"
    return None


def filter_problem(topic_filter, limits):
    """Why a subscription is refused, or None."""
    if len(topic_filter.encode()) > limits.topic_bytes or slashes(topic_filter) > limits.topic_slashes:
        return "filter too long"
    if topic_filter.startswith("$") and not topic_filter.startswith(("$aws/", "$share/")):
        return "reserved topic"
    return None


def is_shadow_update(topic):
    return bool(_SHADOW_UPDATE.fullmatch(topic))
