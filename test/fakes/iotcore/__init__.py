"""A stand-in for AWS IoT Core's MQTT side that enforces its documented limits, and breaks on command. For tests.

    python3 test/fakes/iotcore --cert server.crt --key server.key --cafile ca.crt --name localhost --record seen.jsonl

limits.py      the table of limits ("AWS IoT Core endpoints and quotas", "Device communication protocols") and topic rules
faults.py      what can be made to go wrong, and how often
record.py      every event as one JSON line, for asserts
session.py     what outlives a connection: subscriptions and messages waiting
gate.py        accepting and TLS
connection.py  one MQTT connection
control.py     HTTP on a loopback port: faults, limits, actions, state

Works on mqtt_codec.py beside this directory, not on the C code under test.
"""
