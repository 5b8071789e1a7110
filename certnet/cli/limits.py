"""Numbers of options as several commands read them, and how a command's time is shared out."""

import csv
import math
import time
from collections.abc import Iterator

from certnet.runtime.clock import began as began
from formulations import InputError
from formulations.arguments import distinct

END_SHARE = 0.25  # What printing, writing and leaving take, as a part of what starting and reading took.
LEAST_SHARE = 0.5  # What the job gets at least of however short a limit, so that it has a result of its own.
LEAST_SECONDS = 0.75  # What is enough for that.


def job_seconds(time_limit: float | None, started: float) -> float | None:
    """What a job may take of a command's time limit: the rest, without what printing, writing and leaving will take.

    How long that is, on a machine as busy as it is, shows in what starting and reading took.
    """
    if time_limit is None:
        return None
    return at_least(time_limit - (1.0 + END_SHARE) * (time.perf_counter() - started), time_limit)


def at_least(rest: float, time_limit: float) -> float:
    """The rest of a time limit, but enough for a result of its own."""
    return max(rest, min(LEAST_SHARE * time_limit, LEAST_SECONDS))


def shares(
    time_limit: float | None, started: float, questions: int, each: float | None = None
) -> Iterator[float | None]:
    """Seconds for each question of a command: an equal part of what is left when its turn comes, at most ``each``.

    None stands for no limit; 0 means that time is up.
    """
    seconds = job_seconds(time_limit, started)
    end = math.inf if seconds is None else time.perf_counter() + seconds
    for waiting in range(questions, 0, -1):
        share = max(end - time.perf_counter(), 0.0) / waiting
        share = share if each is None else min(share, each)
        yield None if share == math.inf else share


def seconds_or_none(time_limit: float, option: str = "--time-limit") -> float | None:
    """Seconds, or None for the 0 that stands for no limit; what is negative, NaN or infinite is refused."""
    if time_limit == 0:
        return None
    if not (time_limit > 0 and math.isfinite(time_limit)):
        raise InputError(f"{option} must be a positive number of seconds, or 0 for no limit, not {time_limit:g}.")
    return time_limit


def column_names(text: str, option: str) -> tuple[str, ...]:
    """The names of an option such as ``--drop A,B``; one with a comma stands in quotes, an empty one is refused."""
    names = [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]
    if not names or not all(names):
        raise InputError(f"{option} must be names of columns with commas between them, not {text[:40]!r}.")
    return tuple(dict.fromkeys(names))


def positive_numbers(text: str, option: str, example: str) -> tuple[float, ...]:
    """The numbers of an option such as ``--gammas 1,0.3,0.1``, refused unless positive, finite and different."""
    values, must = numbers(text), f"must be positive numbers with commas between them, such as {example}"
    for word, value in zip(text.split(","), values, strict=True):
        if not 0 < value < math.inf:
            raise InputError(f"{option} {must}, not {word.strip()!r}.")
    return distinct(option, values)


def numbers(text: str) -> list[float]:
    """The numbers between the commas of a text, NaN for what is none."""
    values = []
    for word in text.split(","):
        try:
            values.append(float(word))
        except ValueError:
            values.append(math.nan)
    return values
