"""The MQTT-SN codec agrees with tshark's dissector on generated packets of every type."""

import collections
import subprocess

from mqttsn_tshark import PORT, dissect, malformed, need_tshark, write_pcap

TYPES = {0: "ADVERTISE", 1: "SEARCHGW", 2: "GWINFO", 4: "CONNECT", 5: "CONNACK", 6: "WILLTOPICREQ", 7: "WILLTOPIC",
         8: "WILLMSGREQ", 9: "WILLMSG", 10: "REGISTER", 11: "REGACK", 12: "PUBLISH", 13: "PUBACK", 14: "PUBCOMP",
         15: "PUBREC", 16: "PUBREL", 18: "SUBSCRIBE", 19: "SUBACK", 20: "UNSUBSCRIBE", 21: "UNSUBACK", 22: "PINGREQ",
         23: "PINGRESP", 24: "DISCONNECT", 26: "WILLTOPICUPD", 27: "WILLTOPICRESP", 28: "WILLMSGUPD", 29: "WILLMSGRESP"}

# our name -> tshark's field
FIELDS = {"length": "mqttsn.msg.len", "gateway": "mqttsn.gw.id", "interval": "mqttsn.adv.interv", "radius": "mqttsn.radius",
          "will": "mqttsn.will", "clean": "mqttsn.clean.session", "protocol": "mqttsn.protocol.id",
          "keepalive": "mqttsn.keep.alive", "client": "mqttsn.client.id", "code": "mqttsn.return.code",
          "qos": "mqttsn.qos", "retain": "mqttsn.retain", "dup": "mqttsn.dup", "willtopic": "mqttsn.will.topic",
          "willmsg": "mqttsn.will.msg", "topic_id": "mqttsn.topic.id", "msg_id": "mqttsn.msg.id", "topic": "mqttsn.topic",
          "payload": "mqttsn.pub.msg", "sleep": "mqttsn.sleep.timer", "short": "mqttsn.topic.id", "type": "mqttsn.topic.id.type"}
NUMBERS = {"length", "gateway", "interval", "radius", "will", "clean", "protocol", "keepalive", "code", "qos", "retain",
           "dup", "topic_id", "msg_id", "sleep", "type"}


def same(name, ours, theirs):
    if name in NUMBERS:
        return int(ours) == int(theirs, 0)
    if name == "short" and theirs.isdigit():  # tshark shows the two characters of a PUBLISH as a number
        return ours == chr(int(theirs) >> 8) + chr(int(theirs) & 0xFF)
    return ours == theirs


def test_agrees_with_tshark(build, tmp_path):
    need_tshark()
    lines = subprocess.run([build / "test/unit/mqttsn/mqttsn_packets", "5400", "20261123"], capture_output=True, text=True,
                           check=True).stdout.splitlines()
    packets = [line.split("\t") for line in lines]
    capture = tmp_path / "generated.pcap"
    write_pcap(capture, [(40000, PORT, bytes.fromhex(p[0])) for p in packets])
    assert malformed(capture) == []
    compared = collections.Counter()
    for fields, theirs in zip(packets, dissect(capture), strict=True):
        ours = dict(f.split("=", 1) for f in fields[1:])
        kind = ours.pop("name")
        assert TYPES[int(theirs["mqttsn.msg.type"], 0)] == kind
        for name, value in ours.items():
            field = FIELDS[name]
            if field not in theirs and name in ("short", "topic", "topic_id"):
                field = "mqttsn.topic.name.or.id"
            if field not in theirs or (name == "topic_id" and "SUBSCRIBE" in kind):
                continue  # not shown, or shown as text
            assert same(name, value, theirs[field]), (kind, name, value, theirs)
            compared[name] += 1
    assert set(compared) == set(FIELDS), set(FIELDS) - set(compared)
