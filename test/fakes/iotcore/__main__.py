"""Command line of the IoT Core stand-in; see __init__.py."""

import argparse
import asyncio
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from control import Control  # noqa: E402
from gate import Gate  # noqa: E402


def arguments():
    p = argparse.ArgumentParser(prog="iotcore", description="Stand-in for AWS IoT Core with its limits and with faults on command")
    p.add_argument("--address", default="127.0.0.1")
    p.add_argument("--port", type=int, required=True, help="as 8883 of IoT Core")
    p.add_argument("--alpn-port", type=int, help="as 443: wants ALPN x-amzn-mqtt-ca")
    p.add_argument("--control-port", type=int, required=True)
    p.add_argument("--cert", required=True)
    p.add_argument("--key", required=True)
    p.add_argument("--cafile", required=True, help="authority of the client certificates")
    p.add_argument("--name", action="append", required=True, help="server name (SNI) to answer to; repeatable")
    p.add_argument("--record", help="file for events, one JSON object per line")
    p.add_argument("--limit", action="append", default=[], metavar="NAME=VALUE")
    p.add_argument("--tls-max", choices=["1.2", "1.3"], default="1.3")
    p.add_argument("--ciphers", help="OpenSSL list, for TLS 1.2")
    return p.parse_args()


async def serve(options):
    gate = Gate(options)
    for limit in options.limit:
        name, _, value = limit.partition("=")
        gate.limits.change(name, float(value))
    await Control(gate).listen(options.control_port)
    await gate.listen(options.port)
    if options.alpn_port:
        await gate.listen(options.alpn_port, alpn=True)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(f"iotcore: ready on port {options.port}", flush=True)
    await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve(arguments()))
