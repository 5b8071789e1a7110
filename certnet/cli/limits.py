"""The time limit as both commands read it."""

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
