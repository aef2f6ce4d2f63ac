"""A real mosquitto: configuration written, ports chosen, log captured."""

import os
import pathlib
import signal
import subprocess
import time

from .files import SpoolDir, Store
from .mqtt import Client
from .process import Process, accepts, free_port, wait_until

RUNNING = r"mosquitto version \S+ running"


class Broker:
    """A mosquitto in `directory`, listening on 127.0.0.1:port.

    conf       more lines of mosquitto.conf (behind the listener)
    plugin     path of mosquitto_aws.so, or None for a plain broker
    options    the plugin's options, each "name value" without plugin_opt_. spool_dir (directory/spool), sys_interval (200ms)
               and, with store lines, sqlite_file (directory/store.db) are added unless given
    sanitizer  harness.process.Sanitizer for a plugin of a sanitizer build
    verbose    log everything that happens to clients (-v)
    user       whom the broker runs as; root's broker stays root unless told otherwise
    """

    def __init__(self, directory, plugin=None, options=(), conf="", name="broker", sanitizer=None, user=None, port=None,
                 global_conf="", prefix=(), verbose=True):
        self.directory = pathlib.Path(directory)
        self.name = name
        self.plugin = plugin
        self.options = list(options)
        self.conf = conf
        self.global_conf = global_conf
        self.user = user
        self.port = port or free_port()
        self.config = self.directory / f"{name}.conf"
        self.sanitizer = sanitizer
        self.spool = SpoolDir(self.option("spool_dir") or self.directory / "spool")
        self.store = Store(self.option("sqlite_file") or self.directory / "store.db")
        env = sanitizer.env() if sanitizer and plugin else {}
        argv = [*prefix, "mosquitto", "-c", self.config, *(["-v"] if verbose else [])]
        self.process = Process(name, argv, self.directory, env)

    # -- configuration

    def option(self, name):
        """The value of the first option of this name, or None."""
        for o in self.options:
            word, _, value = str(o).partition(" ")
            if word == name:
                return value
        return None

    def set_option(self, name, *values):
        """Replaces every option of this name; used by the next start."""
        self.options = [o for o in self.options if str(o).partition(" ")[0] != name]
        self.options += [f"{name} {v}" for v in values]

    def plugin_lines(self):
        options = [str(o) for o in self.options]
        if self.option("spool_dir") is None:
            options.append(f"spool_dir {self.spool.path}")
        if self.option("store") is not None and self.option("sqlite_file") is None \
                and self.option("dynamodb_table") is None:
            options.append(f"sqlite_file {self.store.path}")
        if self.option("sys_interval") is None:
            options.append("sys_interval 200ms")
        return [f"plugin {self.plugin}"] + [f"plugin_opt_{o}" for o in options]

    def write_config(self):
        lines = [self.global_conf] if self.global_conf else []
        lines += [f"listener {self.port} 127.0.0.1", "allow_anonymous true"]
        if self.plugin:
            lines += self.plugin_lines()
        if self.user or os.getuid() == 0:
            lines.append(f"user {self.user or 'root'}")
        lines += ["log_dest stderr", "log_timestamp_format %H:%M:%S", self.conf]
        self.config.write_text("\n".join(lines) + "\n")

    # -- life

    def start(self, timeout=20):
        """Writes the configuration, starts, and waits until the broker accepts connections."""
        self.write_config()
        self.process.start()
        self.process.wait_log(RUNNING, timeout)
        wait_until(lambda: accepts(self.port), timeout, f"port {self.port}")
        return self

    def start_refused(self, timeout=20):
        """Starts a broker that must not come up because of its configuration; its exit code and output."""
        self.write_config()
        self.process.start()
        code = self.process.wait(timeout)
        assert not self.process.lines(RUNNING), f"the broker came up:\n{self.process.tail()}"
        return code, self.process.text()

    def stop(self, timeout=20):
        """SIGTERM; the exit code."""
        return self.process.stop(timeout)

    def kill9(self):
        self.process.kill()

    def restart(self):
        self.stop()
        return self.start()

    def reload(self):
        """SIGHUP."""
        self.process.signal(signal.SIGHUP)

    @property
    def log(self):
        """Output since the latest start."""
        return self.process.text()

    def wait_log(self, pattern, timeout=10, count=1):
        return self.process.wait_log(pattern, timeout, count)

    # -- traffic

    def client(self, client_id="", **options):
        """A connected harness.mqtt.Client."""
        return Client(self.port, client_id, **options)

    def publish(self, topic, payload=b"", qos=1, retain=False, **options):
        """Publishes one message and waits for its acknowledgement."""
        with self.client(**options) as c:
            c.publish(topic, payload, qos, retain)
            if not qos:
                c.ping()

    def recorder(self, *filters, qos=1, **options):
        """A client subscribed to the filters; what arrives is in its `messages`."""
        c = self.client(**options)
        c.subscribe(*filters, qos=qos)
        return c

    def mosquitto_pub(self, *args, stdin=None):
        """Runs mosquitto_pub against this broker."""
        argv = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(self.port), *map(str, args)]
        subprocess.run(argv, input=stdin, check=True, timeout=60)

    def sys(self, name, timeout=5):
        """The value published under $SYS/broker/aws/NAME, as text."""
        with self.recorder(f"$SYS/broker/aws/{name}") as c:
            return c.wait_messages(1, timeout)[-1].payload.decode()

    def wait_drained(self, sink="iotcore", timeout=30):
        """Waits until nothing waits for this sink any more; not fooled by a value from before the last publishes."""
        with self.recorder(f"$SYS/broker/aws/{sink}/lag") as c:
            time.sleep(0.5)  # more than two intervals of the status
            wait_until(lambda: c.messages and c.messages[-1].payload == b"0", timeout,
                       lambda: f"{sink}/lag to be 0; it is {c.messages[-1].payload if c.messages else None}")

    def wait_sys(self, name, value, timeout=15):
        """Waits until $SYS/broker/aws/NAME says `value` (a text, or a function that judges the text)."""
        with self.recorder(f"$SYS/broker/aws/{name}") as c:
            def good():
                last = c.messages[-1].payload.decode() if c.messages else None
                return last is not None and (value(last) if callable(value) else last == str(value))
            wait_until(good, timeout, lambda: f"{name} to be {value}; seen {[x.payload for x in c.messages[-5:]]}")
            return c.messages[-1].payload.decode()


class FarSide(Broker):
    """A mosquitto that stands in for IoT Core: TLS with client certificates on `tls_port`, and a plain listener on `port` for
    the test to look at what arrives and to send commands down. It queues without limit."""

    def __init__(self, directory, server, name="far", tls_port=None, conf="", **options):
        self.server = server
        self.tls_port = tls_port or free_port()
        tls = [f"listener {self.tls_port} 127.0.0.1", "allow_anonymous true", f"cafile {server.ca}",
               f"certfile {server.cert}", f"keyfile {server.key}", "require_certificate true",
               "use_identity_as_username true", "max_queued_messages 0", "max_inflight_messages 100"]
        super().__init__(directory, name=name, conf="\n".join(tls) + "\n" + conf, **options)

    def plugin_options(self, client, port=None):
        """Options that point the plugin here, with the identity `client`; port: a relay's port instead of ours."""
        return uplink_options(client, port or self.tls_port)


def uplink_options(client, port):
    """Options of an uplink to localhost:port with the identity `client`. AWS's rate limits are off."""
    return [f"iot_endpoint localhost:{port}", f"iot_certfile {client.cert}", f"iot_keyfile {client.key}",
            f"iot_cafile {client.ca}", "iot_publish_rate 0", "iot_byte_rate 0"]
