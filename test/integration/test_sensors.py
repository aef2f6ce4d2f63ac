"""The example devices of sensors/, as far as they can be judged without a board."""

import json
import pathlib
import shutil
import subprocess

import pytest
from harness.process import TOP

SENSORS = TOP / "sensors"

# What the sketch uses of Arduino and the libraries, with their signatures.
ARDUINO = r"""
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
unsigned long millis();
void delay(unsigned long ms);
long random(long low, long high);
void configTime(long zone, int daylight, const char *a, const char *b);
struct SerialPort { void begin(unsigned long); void println(const char *); int printf(const char *, ...) __attribute__((format(printf, 2, 3))); };
extern SerialPort Serial;
struct Client { };
struct WiFiClient : Client { };
enum { WIFI_STA, WL_CONNECTED };
struct WiFiClass { void mode(int); void begin(const char *, const char *); int status(); };
extern WiFiClass WiFi;
"""
HEADERS = {
    "DHT.h": '#include "Arduino.h"\nenum { DHT11, DHT22 };\nstruct DHT { DHT(uint8_t, uint8_t); void begin(); float readTemperature(); '
             'float readHumidity(); };\n',
    "PubSubClient.h": '#include "Arduino.h"\nstruct PubSubClient { PubSubClient(Client &); bool connected(); bool connect(const char *); '
                      'bool loop(); int state(); bool publish(const char *, const char *); PubSubClient &setServer(const char *, '
                      'uint16_t); PubSubClient &setKeepAlive(uint16_t); };\n',
    "WiFi.h": '#include "Arduino.h"\n', "ESP8266WiFi.h": '#include "Arduino.h"\n',
    "WiFiClientSecure.h": '#include "Arduino.h"\n#ifdef ESP8266\nnamespace BearSSL { struct X509List { X509List(const char *); }; struct '
                          'PrivateKey { PrivateKey(const char *); }; }\nstruct WiFiClientSecure : WiFiClient { void setTrustAnchors('
                          'const BearSSL::X509List *); void setClientRSACert(const BearSSL::X509List *, const BearSSL::PrivateKey *); '
                          '};\n#else\nstruct WiFiClientSecure : WiFiClient { void setCACert(const char *); void setCertificate(const '
                          'char *); void setPrivateKey(const char *); };\n#endif\n',
}
TLS = '#define MQTT_TLS\nstatic const char CA_PEM[] = "";\nstatic const char CERTIFICATE_PEM[] = "";\nstatic const char KEY_PEM[] = "";\n'


@pytest.mark.skipif(not shutil.which("g++"), reason="no g++")
@pytest.mark.parametrize("board", ["ESP8266", "ESP32"])
@pytest.mark.parametrize("tls", [False, True])
def test_sketch_compiles(tmp_path, board, tls):
    sketch = SENSORS / "arduino" / "weather-station"
    for name, text in {"Arduino.h": ARDUINO, **HEADERS}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "config.h").write_text((sketch / "config.h.example").read_text() + (TLS if tls else ""))
    shutil.copy(sketch / "weather-station.ino", tmp_path / "weather-station.cpp")
    subprocess.run(["g++", "-std=gnu++17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", f"-D{board}", "-I", tmp_path, "-include",
                    "Arduino.h", tmp_path / "weather-station.cpp"], check=True)


ENCODE = """
#include "payload.h"
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
    uint8_t out[PAYLOAD_SIZE];
    payload_encode(out, atoi(argv[1]), (unsigned)atoi(argv[2]), (unsigned)atoi(argv[3]));
    for (int i = 0; i < PAYLOAD_SIZE; i++) {
        printf("%s%d", i ? "," : "", out[i]);
    }
    return argc != 4;
}
"""


@pytest.fixture(scope="module")
def encode(tmp_path_factory):
    directory = tmp_path_factory.mktemp("payload")
    (directory / "encode.c").write_text(ENCODE)
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-I", SENSORS / "riot-lorawan", "-o", directory / "encode",
                    directory / "encode.c"], check=True)
    return lambda *values: subprocess.run([directory / "encode", *map(str, values)], check=True, capture_output=True, text=True).stdout


def decode(data, port=1):
    script = f"console.log(JSON.stringify(decodeUplink({{fPort: {port}, bytes: [{data}]}})))"
    text = (SENSORS / "riot-lorawan" / "formatter.js").read_text() + script
    return json.loads(subprocess.run(["node", "-e", text], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(not shutil.which("node"), reason="no node")
@pytest.mark.parametrize("values, wanted", [
    ((2150, 100, 3300), {"temperature": 21.5, "humidity": 50, "battery": 3.3}),
    ((-1, 0, 2000), {"temperature": -0.01, "humidity": 0, "battery": 2}),
    ((-5000, 200, 4550), {"temperature": -50, "humidity": 100, "battery": 4.55}),
    ((99999, 300, 99999), {"temperature": 327.67, "humidity": 100, "battery": 4.55}),
    ((-99999, 1, 0), {"temperature": -327.68, "humidity": 0.5, "battery": 2}),
])
def test_lorawan_payload_and_formatter(encode, values, wanted):
    assert decode(encode(*values)) == {"data": pytest.approx(wanted)}


@pytest.mark.skipif(not shutil.which("node"), reason="no node")
@pytest.mark.parametrize("data, port", [("1,2,3", 1), ("2,0,0,0,0", 1), ("1,0,0,0,0", 7), ("", 1)])
def test_formatter_refuses_what_it_does_not_know(data, port):
    assert "errors" in decode(data, port)


def test_simulator(broker):
    b = broker(options=["store $aws/things/+/shadow/update"])
    argv = [SENSORS / "simulator" / "simulate", "-n", "5", "-i", "0.2", "-c", "3", "-p", b.port, "--name", "s"]
    p = subprocess.run([str(a) for a in argv], check=True, capture_output=True, text=True, timeout=60)
    assert p.stdout == "15 readings of 5 stations, 0 stations lost their connection\n"
    b.wait_drained("sqlite")
    rows = b.store.rows()
    assert {row[0] for row in rows} == {f"s-{n}" for n in range(1, 6)} and len(rows) == 15


def test_simulator_says_what_is_lost(tmp_path):
    argv = [SENSORS / "simulator" / "simulate", "-n", "2", "-i", "0.1", "-c", "2", "-p", "1"]
    p = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert p.returncode == 1 and "2 stations lost" in p.stdout


def test_each_has_a_readme():
    for folder in ("arduino", "riot-lorawan", "simulator"):
        assert pathlib.Path(SENSORS / folder / "README.md").read_text().startswith("# ")
