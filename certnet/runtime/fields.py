"""What a JSON object from elsewhere holds, where that is of the kind that is expected: reports may be anybody's."""

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

MOST = 60  # Entries of a list.


def number(value: object) -> float | None:
    """A finite number as it is, else None."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        return value if math.isfinite(value) else None  # type: ignore[return-value]
    except OverflowError:
        return None


def mapping(value: object) -> Mapping[str, Any]:
    """An object, empty where something else stands."""
    return value if isinstance(value, Mapping) else {}


def entries(value: object, most: int = MOST) -> list[Any]:
    """The first entries of a list, none where something else stands."""
    return list(value[:most]) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else []
