"""Devices with the habits of RIOT's emcute (sensors/riot-emcute): they ignore REGISTER and any DISCONNECT that they did not ask for, refuse
PUBLISH with DUP, know one id per subscription, and repeat what is not answered."""

import struct
import time

import pytest

from mqttsn_client import DISCONNECT, INVALID_TOPIC_ID, NOT_SUPPORTED, PUBACK, PUBLISH, REGISTER, RETAIN, SHORT, Device
from mqttsn_harness import *  # noqa: F403

QOS_1 = 0x20


class Emcute(Device):
    lose = 0  # so many PUBLISH are lost on the air

    def _handle(self, p):
        if p.kind != PUBLISH:
            return
        if self.lose:
            self.lose -= 1
            return
        code = 0
        if p.flags & ~(QOS_1 | SHORT | RETAIN):
            code = NOT_SUPPORTED
        elif p.topic_id not in self.topics:
            code = INVALID_TOPIC_ID
        if code or p.flags & QOS_1:
            self.send(PUBACK, struct.pack("!HHB", p.topic_id, p.msg_id, code))
        if not code:
            p.topic = self.topics[p.topic_id]
            self.waiting.append(p)


@pytest.fixture
def station(plain_broker, mqttsn):
    b = plain_broker()
    g = mqttsn(b, "retry_interval 300ms")
    d = Emcute(g.port, "riot-1")
    d.connect(will=("status/riot-1", b"offline", 1, True), keepalive=360)
    yield b, g, d
    d.close()


def test_readings_and_commands(station):
    b, g, d = station
    seen = b.recorder("$aws/things/+/shadow/update")
    topic = d.register("$aws/things/riot-1/shadow/update")
    d.publish(topic, b'{"state":{"desired":{"temperature":-12.4}}}', 1)
    assert seen.wait_messages(1)[0].topic == "$aws/things/riot-1/shadow/update"
    d.subscribe("commands/riot-1", 1)
    b.publish("commands/riot-1", b"5")
    assert d.receive().payload == b"5"
    d.lose = 1  # the second one has DUP and is refused, the third has not
    b.publish("commands/riot-1", b"6")
    m = d.receive()
    assert m.payload == b"6" and not m.dup
    b.publish("commands/riot-1", b"7")
    assert d.receive().payload == b"7"


def test_register_is_ignored(station):
    b, g, d = station
    d.subscribe("commands/riot-1", 1)
    d.subscribe("wild/#", 1)
    b.publish("wild/1", b"lost on this device")
    b.publish("commands/riot-1", b"not lost")
    assert d.expect(REGISTER)
    d.ping()
    assert d.receive().payload == b"not lost"
    g.wait_log("mqttsn.dropped.*unanswered")


def test_it_comes_back(station):
    b, g, d = station
    topic = d.register("a")
    b.restart()
    assert d.expect(DISCONNECT)
    d.send_publish(topic, b"x", 1)
    assert d.wait(PUBACK, timeout=0.5) is None
    d.send(DISCONNECT)  # emcute_discon: answered also for those who are not connected
    d.expect(DISCONNECT)
    g.wait_log("uplink.connected", count=2)
    time.sleep(1.1)  # the gateway keeps off a broker that was away, for a second
    d.connect(will=("status/riot-1", b"offline", 1, True))
    assert d.register("a") == topic
    d.publish(topic, b"x", 1)
