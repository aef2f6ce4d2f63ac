"""What the integration tests are made of, one concern per file:

process   starting, watching and ending programs; free ports; waiting
broker    a real mosquitto, with our plugin or without
mqtt      an MQTT client that knows exactly what was acknowledged, and a recorder of what arrives
pki       a certificate authority and certificates, good and bad (certs/dev-ca)
gate      the stand-in for AWS IoT Core with its limits and faults (test/fakes/iotcore)
relay     a TCP relay: a network link that can be cut, frozen and slowed down
files     SQLite stores and spool directories, looked at from outside

conftest.py turns them into fixtures.
"""
