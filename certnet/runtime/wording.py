"""Numbers as people read them, where a proved bound is never shown better than it is; and what JSON objects hold.

Reports may be anybody's, so what stands in them is looked at before it is used.
"""

import math
import unicodedata
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from numbers import Real
from typing import Any

from formulations.text import printable as printable

NONE = "—"  # Stands for what is not known.
OF_CLASSES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "f1": "F1", "log_loss": "log-loss"}
OF_NUMBERS = {"r2": "R²", "mean_squared_error": "mean squared error", "mean_absolute_error": "mean absolute error"}
"""Figures of networks by their names in reports, and as people read them."""
PARTS = ("train", "validation", "test")  # Of rows, as reports name them.
MOST = 60  # Entries of a list.
DIGITS, MOST_DIGITS = 6, 17
WIDTH = 40  # Characters of a text of a file in a sentence.
_UP = Context(prec=40, rounding=ROUND_CEILING)


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


def down(value: float | None, digits: int = DIGITS) -> str:
    """A proved lower bound in so many digits, never shown larger than it is."""
    return _rounded(value, ROUND_FLOOR, digits)


def up(value: float | None, digits: int = DIGITS) -> str:
    """An upper bound in so many digits, never shown smaller than it is."""
    return _rounded(value, ROUND_CEILING, digits)


def percent(value: float | Decimal | None) -> str:
    """A ratio in percent, rounded up to two digits after the point, or to two digits at all below 0.01 %."""
    if value is None or not math.isfinite(value):
        return NONE
    exact = Decimal(value)
    if 0 < exact < Decimal("1e-4"):
        return f"{Context(prec=2, rounding=ROUND_CEILING).create_decimal(exact * 100):.1e} %"
    if abs(exact) >= 10**6:
        return f"{up(math.nextafter(100 * float(value), math.inf))} %"
    return f"{(exact * 100).quantize(Decimal('0.01'), ROUND_CEILING)} %"


def share(value: object, *, at_least: bool | None = None) -> str:
    """A share of rows in percent with one digit; of a bound rounded to what is still true: down for at least, else up.

    A dash for what is none.
    """
    found = number(value)
    if found is None or not 0 <= found <= 1:
        return NONE
    rounding = {None: ROUND_HALF_EVEN, True: ROUND_FLOOR, False: ROUND_CEILING}[at_least]
    # The digits that name the float: 0.7 is seven of ten rows, and no less.
    return f"{(Decimal(repr(float(found))) * 100).quantize(Decimal('0.1'), rounding)} %"


def between(row: Mapping[str, Any]) -> str:
    """Certified to attacked accuracy, or the one where they agree."""
    certified, attacked = row.get("certified_accuracy"), row.get("attacked_accuracy")
    least = share(certified, at_least=True)
    return least if certified == attacked else f"{least} to {share(attacked, at_least=False)}"


def figure(value: object, digits: int = 4) -> str:
    """A number in so many digits, to the nearest; a dash for what is none."""
    found = number(value)
    return NONE if found is None else f"{found:.{digits}g}"


def shortened(text: str, most: int = WIDTH) -> str:
    """A text of a file as sentences quote it."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def cleaned(text: str, most: int) -> str:
    """A text of anybody's, shortened, with spaces for control characters."""
    # Long texts are cut before they are looked at.
    return shortened("".join(" " if unicodedata.category(sign)[0] == "C" else sign for sign in text[: most + 1]), most)


def first_of(sentences: Sequence[str], most: int, what: str) -> tuple[str, ...]:
    """The first of these sentences; where there are more, the last one says how many more there are of what."""
    if len(sentences) <= most:
        return tuple(sentences)
    return (*sentences[: most - 1], f"… and {len(sentences) - most + 1} {what} more (report.json lists them)")


def listed(words: Sequence[object], most: int = 4, width: int = WIDTH) -> str:
    """``a, b and c``, or ``a, b, c, d and 7 more``; of several words those with a comma are quoted."""
    shown = [shortened(str(word), width) for word in words[:most]]
    if len(words) > 1:
        shown = [f"'{word}'" if "," in word else word for word in shown]
    if len(words) > most:
        return f"{', '.join(shown)} and {len(words) - most} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def bounds(report: Mapping[str, Any]) -> tuple[str, str, str]:
    """Objective, lower bound and relative gap, with so many digits that the gap is that of the two as shown.

    What is missing or no number is not known.
    """
    from certificates.report import SMALLEST  # brings NumPy, which --help does without

    objective, bound, gap = (number(report.get(name)) for name in ("objective", "lower_bound", "gap"))
    digits = DIGITS if not gap else min(max(DIGITS, math.ceil(-math.log10(abs(gap))) + 3), MOST_DIGITS)
    above, below = up(objective, digits), down(bound, digits)
    if gap is None or NONE in (above, below) or not Decimal(above):
        return above, below, percent(gap)
    difference = _UP.subtract(Decimal(above), Decimal(below))
    return above, below, percent(_UP.divide(difference, max(Decimal(above), Decimal(SMALLEST))))


def _rounded(value: float | None, rounding: str, digits: int) -> str:
    if value is None or not Decimal(value).is_finite():
        return NONE
    return f"{Context(prec=digits, rounding=rounding).create_decimal(Decimal(value)):g}"
