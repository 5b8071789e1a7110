"""Numbers of options as several commands read them."""

import math

from formulations import InputError


def seconds_or_none(time_limit: float, option: str = "--time-limit") -> float | None:
    """Seconds, or None for the 0 that stands for no limit.

    Raises:
        InputError: negative, NaN or infinite.
    """
    if time_limit == 0:
        return None
    if not (time_limit > 0 and math.isfinite(time_limit)):
        raise InputError(f"{option} must be a positive number of seconds, or 0 for no limit, not {time_limit:g}.")
    return time_limit


def positive_numbers(text: str, option: str, example: str) -> list[float]:
    """The numbers of an option such as ``--gammas 1,0.3,0.1``.

    Raises:
        InputError: one is not positive and finite.
    """
    values = []
    for word in text.split(","):
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not (value > 0 and math.isfinite(value)):
            raise InputError(
                f"{option} must be positive numbers with commas between them, such as {example}, not {word.strip()!r}."
            )
        values.append(value)
    return values
