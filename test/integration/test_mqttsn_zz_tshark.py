"""What the devices of the other tests sent and got, as tshark sees it. Runs last: the name is on purpose."""

import pytest

from mqttsn_client import Device
from mqttsn_tshark import PORT, malformed, need_tshark, write_pcap


def test_no_packet_of_the_suite_is_malformed(tmp_path):
    need_tshark()
    if not any(direction for direction, _ in Device.captured):
        pytest.skip("no test before this one spoke to a gateway")
    capture = tmp_path / "suite.pcap"
    datagrams = [d for d in Device.captured if len(d[1]) < 60000]  # the capture file's limit
    write_pcap(capture, [(PORT, 40000, data) if direction else (40000, PORT, data) for direction, data in datagrams])
    # What a gateway sends must be right; devices of the tests send wrong client ids and filters on purpose, but no wrong packets.
    assert malformed(capture) == []
