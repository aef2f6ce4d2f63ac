"""DynamoDB's documented limits for what is written ("Quotas in Amazon DynamoDB", "DynamoDB item sizes and formats"), in full:
dynalite counts characters instead of bytes and knows no nesting limit."""
from decimal import Decimal, InvalidOperation

from aws_verify import Refused

ITEM_MAX = 400 * 1024
REQUEST_MAX = 16 * 1024 * 1024
BATCH_MAX = 25
NESTING_MAX = 32
HASH_KEY_MAX = 2048
RANGE_KEY_MAX = 1024


class Invalid(Refused):
    def __init__(self, message):
        super().__init__("ValidationException", message, prefix="com.amazon.coral.validate#")


def number_size(text):
    """Checks a number and returns its size in bytes."""
    try:
        sign, digits, exponent = Decimal(text).as_tuple()
    except InvalidOperation:
        raise Invalid(f"The parameter cannot be converted to a numeric value: {text}") from None
    if not isinstance(exponent, int):
        raise Invalid(f"The parameter cannot be converted to a numeric value: {text}")
    plain = "".join(map(str, digits)).lstrip("0")
    trailing = len(plain) - len(plain.rstrip("0"))
    plain = plain.rstrip("0")
    if not plain:
        return 1
    magnitude = len(plain) + trailing + exponent - 1
    if magnitude > 125:
        raise Invalid("Number overflow. Attempting to store a number with magnitude larger than supported range")
    if magnitude < -130:
        raise Invalid("Number underflow. Attempting to store a number with magnitude smaller than supported range")
    if len(plain) > 38:
        raise Invalid("Attempting to store more than 38 significant digits in a Number")
    return (len(plain) + 1) // 2 + 1


def value_size(value, level):
    """Size of one AttributeValue; the attribute itself is level 1, what it contains level 2."""
    if level > NESTING_MAX:
        raise Invalid(
            "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported limit"
        )
    if len(value) != 1:
        raise Invalid("Supplied AttributeValue is empty or has more than one datatypes set, must contain exactly one of the supported datatypes")
    ((kind, content),) = value.items()
    if kind == "S":
        return len(content.encode("utf-8", "surrogatepass"))
    if kind == "N":
        return number_size(content)
    if kind in ("BOOL", "NULL"):
        if not isinstance(content, bool):
            raise Refused("SerializationException", "Unexpected token received from parser")
        return 1
    if kind == "M":
        return 3 + sum(1 + len(name.encode()) + value_size(v, level + 1) for name, v in content.items())
    if kind == "L":
        return 3 + sum(1 + value_size(v, level + 1) for v in content)
    raise Refused("SerializationException", f"{kind} is not what a measurement holds")


def check_key(item, name, kind, longest, which):
    value = item.get(name)
    if value is None or kind not in value:
        raise Invalid("The provided key element does not match the schema")
    if kind == "S":
        if value["S"] == "":
            raise Invalid(
                "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty string value. "
                f"Key: {name}"
            )
        if len(value["S"].encode()) > longest:
            raise Invalid(f"One or more parameter values were invalid: Size of {which} has exceeded the maximum size limit of{longest} bytes")


def check_batch(request, tables):
    """A BatchWriteItem of PutRequests. tables: name -> ((hash key, type), (range key, type)); unknown ones are dynalite's."""
    wanted = request["RequestItems"]
    if not 1 <= sum(len(puts) for puts in wanted.values()) <= BATCH_MAX:
        raise Invalid(
            "1 validation error detected: Value at 'requestItems' failed to satisfy constraint: "
            "Map value must satisfy constraint: [Member must have length less than or equal to 25]"
        )
    for table, puts in wanted.items():
        seen = set()
        for put in puts:
            item = put["PutRequest"]["Item"]
            size = sum(len(name.encode()) + value_size(v, 1) for name, v in item.items())
            if size > ITEM_MAX:
                raise Invalid("Item size has exceeded the maximum allowed size")
            if table not in tables:
                continue
            (hash_name, hash_kind), (range_name, range_kind) = tables[table]
            check_key(item, hash_name, hash_kind, HASH_KEY_MAX, "hashkey")
            check_key(item, range_name, range_kind, RANGE_KEY_MAX, "rangekey")
            key = (item[hash_name][hash_kind], str(item[range_name][range_kind]))
            if key in seen:
                raise Invalid("Provided list of item keys contains duplicates")
            seen.add(key)
