"""What websensor is measured against: a Flask server as in the original aws-iot-sensors, which connects to the broker with paho for
each request and publishes with QoS 0. Usage: websensor_flask.py PORT BROKER-PORT"""

import json
import logging
import sys

import flask
import paho.mqtt.client

app = flask.Flask(__name__)
logging.getLogger("werkzeug").setLevel(logging.ERROR)


@app.route("/walk-sensor/proc", methods=["POST"])
def walk_sensor_proc():
    client = paho.mqtt.client.Client()
    client.connect("127.0.0.1", int(sys.argv[2]))
    walking = json.loads(flask.request.get_data())
    client.publish("$aws/things/walk-sensor-proc/shadow/update", json.dumps({"state": {"desired": {"walking": walking}}}))
    client.disconnect()
    return "OK"


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(sys.argv[1]))
