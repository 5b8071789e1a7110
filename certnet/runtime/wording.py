"""Numbers as people read them; a proved bound is never shown better than it is."""

import math
from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any

from formulations.text import printable as printable

NONE = "—"
"""Stands for what is not known."""
OF_CLASSES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "f1": "F1", "log_loss": "log-loss"}
OF_NUMBERS = {"r2": "R²", "mean_squared_error": "mean squared error", "mean_absolute_error": "mean absolute error"}
"""Figures of networks by their names in reports, and as people read them."""
DIGITS, MOST_DIGITS = 6, 17
_UP, _DOWN = Context(prec=40, rounding=ROUND_CEILING), Context(prec=40, rounding=ROUND_FLOOR)


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


def share(value: float, *, at_least: bool) -> str:
    """A share of rows in percent with one digit, rounded towards what is still true: down for at least, else up."""
    # The digits that name the float: 0.7 is seven of ten rows, and no less.
    return (
        f"{(Decimal(repr(float(value))) * 100).quantize(Decimal('0.1'), ROUND_FLOOR if at_least else ROUND_CEILING)} %"
    )


def bounds(report: Mapping[str, Any]) -> tuple[str, str, str]:
    """Objective, lower bound and relative gap, with so many digits that the gap is that of the two as shown."""
    objective, bound, gap = (report[name] for name in ("objective", "lower_bound", "gap"))
    digits = DIGITS if not gap else min(max(DIGITS, math.ceil(-math.log10(abs(gap))) + 3), MOST_DIGITS)
    above, below = up(objective, digits), down(bound, digits)
    if gap is not None and NONE not in (above, below) and Decimal(above):
        gap = _UP.subtract(Decimal(1), _DOWN.divide(Decimal(below), Decimal(above)))
    return above, below, percent(gap)


def _rounded(value: float | None, rounding: str, digits: int) -> str:
    if value is None or not Decimal(value).is_finite():
        return NONE
    return f"{Context(prec=digits, rounding=rounding).create_decimal(Decimal(value)):g}"
