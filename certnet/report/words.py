"""What a run folder says, made fit to be shown: everything in it is somebody else's text, of any type and size."""

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from certnet.runtime.wording import NONE

TEXT, LIST = 400, 60
"""Most characters of a text, and entries of a list."""


def text(value: object, most: int = TEXT) -> str:
    """A text of limited length without control characters; a dash for nothing."""
    if value is None or value == "":
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return figure(value)
    # Long texts are cut before they are looked at.
    shown = str(value)[: most + 1] if isinstance(value, str | int) else NONE
    shown = "".join(" " if unicodedata.category(sign)[0] == "C" else sign for sign in shown)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def number(value: object) -> float | None:
    """A finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def figure(value: object, digits: int = 4) -> str:
    """A number in so many digits; a dash for what is none."""
    found = number(value)
    return NONE if found is None else f"{found:.{digits}g}"


def seconds(value: object) -> str:
    """A time."""
    found = number(value)
    return NONE if found is None else f"{found:.2f} s"


def share(value: object) -> str:
    """A share in percent."""
    found = number(value)
    return NONE if found is None else f"{100.0 * found:.1f} %"


def mapping(value: object) -> Mapping[str, Any]:
    """An object, empty where something else stands."""
    return value if isinstance(value, Mapping) else {}


def listed(value: object, most: int = LIST) -> list[Any]:
    """The first entries of a list, none where something else stands."""
    return list(value[:most]) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else []


def names(value: object, most: int = LIST) -> list[str]:
    """The texts in a list."""
    return [text(entry, 80) for entry in listed(value, most)]


def several(found: Iterable[str], total: int) -> str:
    """Names in a row, and how many more there are."""
    shown = [*found]
    more = total - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
