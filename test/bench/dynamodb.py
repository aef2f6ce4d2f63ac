"""Benchmark of the DynamoDB sink (issue 3, shown when 7)."""

import json
import os
import statistics
import subprocess

from harness import dynamodb

CONNECTIONS = 4


def run_boto3(endpoint, table, items):
    """boto3's batch_writer with the same items, in a process of its own; for comparison."""
    program = f"""
import boto3, json, resource, time
from decimal import Decimal
table = boto3.resource("dynamodb", endpoint_url={endpoint!r}, region_name="eu-central-1").Table({table!r})
made = []
for i in range({items}):
    text = '{{"seq":%d,"temperature":%.2f,"humidity":%.1f,"battery":3.712,"door":false,"unit":"celsius","position":{{"x":1.5,"y":2.5}},"pad":"' % (i, 15 + i % 1000 / 100, 40 + i % 300 / 10)
    made.append(("s%d" % (i % 100), str(1700000000000 + i // 100), text.ljust(198, "x") + '"}}'))
start, cpu = time.monotonic(), time.process_time()
with table.batch_writer() as batch:
    for sensor, at, text in made:
        batch.put_item({{"sensor": sensor, "timestamp": at, "message": json.loads(text, parse_float=Decimal)}})
print(json.dumps({{"items": {items}, "seconds": time.monotonic() - start, "cpu_seconds": time.process_time() - cpu}}))
"""
    return run(["/usr/bin/python3", "-c", program])


def run(argv):
    env = dict(os.environ, **dynamodb.environment(dynamodb.aws_identity.long_lived()))
    env = {name: value for name, value in env.items() if value or not name.startswith("AWS_")}
    out = subprocess.run([str(a) for a in argv], env=env, check=True, capture_output=True, text=True, timeout=600)
    return json.loads(out.stdout.splitlines()[-1])


def bench_dynamodb(context):
    """Items a second into dynalite and client CPU: the sink against a raw loop of requests built beforehand."""
    n = context.size(20000)
    tool = context.build / "test" / "bench" / "bench_dynamodb"
    results = {"raw floor": [], "sink": [], "boto3 batch_writer": []}
    for i in range(context.rounds):
        for variant, rows in results.items():
            dynamo = dynamodb.Dynamo(proxy=False)  # a new, empty and warm server for each run
            try:
                dynamo.create_table("warm")
                dynamo.create_table("bench")
                endpoint = f"http://127.0.0.1:{dynamo.port}"
                run([tool, "floor", endpoint, "warm", min(n, 5000), CONNECTIONS])
                if variant == "sink":
                    row = run([tool, "sink", endpoint, "bench", n, CONNECTIONS, context.directory / f"spool-{i}"])
                elif variant == "raw floor":
                    row = run([tool, "floor", endpoint, "bench", n, CONNECTIONS])
                elif i == 0:
                    row = run_boto3(endpoint, "bench", n // 4)
                else:
                    continue
                assert dynamo.count("bench") == row["items"]
                rows.append((row["items"] / row["seconds"], row["cpu_seconds"] / row["items"] * 1000))
            finally:
                dynamo.close()
    medians = {v: [statistics.median(column) for column in zip(*rows)] for v, rows in results.items() if rows}
    floor = medians["raw floor"][0]
    context.table(f"DynamoDB: {n:,} items of 200 B into dynalite, {CONNECTIONS} connections",
                  ["variant", "items/s", "of the floor", "client CPU s per 1,000 items"],
                  [[v, f"{m[0]:,.0f}", f"{m[0] / floor:.2f}", f"{m[1]:.4f}"] for v, m in medians.items()])
