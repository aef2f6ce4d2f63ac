"""JSON -> AttributeValue agrees with a reference in Python (Decimal for numbers, the sizes of test/fakes) on random documents."""
import decimal
import json
import os
import pathlib
import random
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "fakes"))
from dynamodb_limits import Invalid, number_size, value_size  # noqa: E402

TOOL = os.environ.get("ATTRIBUTE_TOOL")
pytestmark = pytest.mark.skipif(not TOOL, reason="ATTRIBUTE_TOOL does not name the built attribute_tool")


def random_number(rng):
    kind = rng.random()
    digits = "".join(rng.choice("0123456789") for _ in range(rng.choice([1, 2, 5, 17, 37, 38, 39, 60])))
    whole = rng.choice(["0", (digits.lstrip("0") or "0")])
    fraction = "." + digits[::-1] if kind > 0.4 else ""
    exponent = rng.choice(["", "", "e", "E+", "e-"])
    if exponent:
        exponent += str(rng.choice([0, 1, 7, 90, 125, 126, 129, 130, 131, 400]))
    return rng.choice(["", "-"]) + whole + fraction + exponent


def random_json(rng, level=0):
    """Text of a random document."""
    kind = rng.randrange(9 if level < 4 else 6)
    if kind < 2:
        return random_number(rng)
    if kind == 2:
        return rng.choice(["true", "false", "null"])
    if kind < 6:
        text = "".join(rng.choice("abc äß🌱\n\"\\/\x01") for _ in range(rng.randrange(8)))
        return json.dumps(text, ensure_ascii=rng.random() < 0.5)
    blank = rng.choice(["", " "])
    if kind == 6:
        return "[" + ("," + blank).join(random_json(rng, level + 1) for _ in range(rng.randrange(5))) + blank + "]"
    names = [json.dumps(rng.choice(["a", "b", "ä", "temperature", "", "\t"]) + str(rng.randrange(9))) for _ in range(rng.choice([1, 3, 6, 20]))]
    return "{" + blank + ",".join(f"{n}:{blank}{random_json(rng, level + 1)}" for n in names) + "}"


class Number(str):
    """A number's text, kept apart from strings."""


def parse(text):
    return json.loads(text, parse_int=Number, parse_float=Number)


def reference(value):
    if isinstance(value, Number):
        try:
            number_size(value)
            return {"N": value}
        except Invalid:
            return {"S": str(value)}
    if isinstance(value, bool):
        return {"BOOL": value}
    if value is None:
        return {"NULL": True}
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, list):
        return {"L": [reference(v) for v in value]}
    return {"M": {name: reference(v) for name, v in value.items()}}


def same(ours, expected):
    """Equal, numbers by value to the last digit."""
    ((kind, got),) = ours.items()
    ((want_kind, want),) = expected.items()
    if kind != want_kind:
        return False
    if kind == "N":
        return decimal.Decimal(got) == decimal.Decimal(want)
    if kind == "L":
        return len(got) == len(want) and all(map(same, got, want))
    if kind == "M":
        return got.keys() == want.keys() and all(same(got[k], want[k]) for k in got)
    return got == want


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_reference(seed):
    rng = random.Random(seed)
    documents = [random_json(rng) for _ in range(500)]
    run = subprocess.run([TOOL], input="\n".join(documents) + "\n", capture_output=True, encoding="utf-8", timeout=60)
    lines = run.stdout.split("\n")[:-1]
    assert run.returncode == 0 and len(lines) == len(documents), run.stderr
    for document, line in zip(documents, lines):
        size, encoded, decoded = line.split("\t")
        ours = json.loads(encoded)
        expected = reference(parse(document))
        assert same(ours, expected), document
        assert int(size) == value_size(ours, 1), document
        assert same(reference(parse(decoded)), expected) or "{\"S\":\"" in encoded, document
