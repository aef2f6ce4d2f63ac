"""MQTT-SN datagrams into a capture file and through tshark's dissector (Debian package tshark)."""

import ipaddress
import json
import shutil
import struct
import subprocess

import pytest

PORT = 10000  # of the gateway in captures, whatever it really was


def need_tshark():
    if not shutil.which("tshark"):
        pytest.skip("tshark is not installed")


def write_pcap(path, datagrams):
    """datagrams: (source port, destination port, bytes); each becomes a UDP/IPv4 packet of a raw-IP capture."""
    address = ipaddress.ip_address("127.0.0.1").packed
    with open(path, "wb") as f:
        f.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101))
        for n, (source, destination, data) in enumerate(datagrams):
            udp = struct.pack("!HHHH", source, destination, 8 + len(data), 0) + data
            ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), n & 0xFFFF, 0, 64, 17, 0, address, address)
            f.write(struct.pack("<IIII", n // 1000, n % 1000, len(ip) + len(udp), len(ip) + len(udp)) + ip + udp)


def _run(path, *arguments):
    r = subprocess.run(["tshark", "-r", str(path), "-d", f"udp.port=={PORT},mqttsn", *arguments],
                       capture_output=True, text=True, timeout=300)
    assert r.returncode == 0, r.stderr
    return r.stdout


def dissect(path):
    """One dict per packet: the mqttsn layer with its field names."""
    packets = []
    for packet in json.loads(_run(path, "-T", "json", "-J", "mqttsn")):
        flat = {}

        def walk(node):
            for key, value in node.items():
                if isinstance(value, dict):
                    walk(value)
                else:
                    flat[key] = value

        walk(packet["_source"]["layers"].get("mqttsn", {}))
        packets.append(flat)
    return packets


def malformed(path):
    """What the dissector objects to, one line per packet; empty is good. Two of its own gaps are left out: it does not know
    the two-octet WILLTOPIC and WILLTOPICUPD (specification 5.4.7), and shows predefined ids in (UN)SUBSCRIBE as text, where
    a zero octet ends the text."""
    out = _run(path, "-Y", "_ws.malformed || _ws.expert.severity >= 6291456 || !mqttsn", "-T", "fields", "-E", "separator=|",
               "-e", "frame.number", "-e", "mqttsn.msg.type", "-e", "mqttsn.msg.len", "-e", "mqttsn.topic.id.type",
               "-e", "_ws.expert.message", "-e", "data.data")
    problems = []
    for line in out.splitlines():
        _, kind, length, topic_type, *_ = line.split("|")
        empty_will = kind in ("0x07", "0x1a") and length == "2"
        predefined = kind in ("0x12", "0x14") and topic_type == "0x01" and "Trailing stray" in line
        if not empty_will and not predefined:
            problems.append(line)
    return problems
