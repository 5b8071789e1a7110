"""Records as JSON objects, and back, where nothing but such an object will do."""

from dataclasses import asdict
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def to_json(record: Any) -> dict[str, Any]:
    """The JSON object of a dataclass, with lists for tuples."""
    # By ``asdict``, as msgspec writes no field that it read nothing for.
    return msgspec.json.decode(msgspec.json.encode(asdict(record)), type=dict[str, Any])


def of_json(kind: type[T], value: object) -> T:
    """The record that ``to_json`` makes this of: it has all names, no other, the right types, and no infinities.

    Raises:
        ValueError: it is something else.
    """
    try:
        found = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    if to_json(found) != value:
        raise ValueError("it has other names or numbers than a record of this kind")
    return found
