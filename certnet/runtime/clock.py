"""Time as a job sees it: the limit, what each stage took, and signs of life for whoever watches."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Any

from certnet.runtime.wording import down, percent, up

LOGGER = logging.getLogger("certnet")
"""Gets every note at the level INFO and every other event at DEBUG. It has no handler of ours."""

MOMENTS = 256  # Most moments of a history; of more, every second, fourth, … one and the last are kept.

_BEGAN: ContextVar[float] = ContextVar("began")


def began() -> float:
    """When the command began, by ``time.perf_counter()``: now, or with the process where it is all that this runs."""
    return _BEGAN.get(time.perf_counter())


def begin_with_process(moment: float) -> None:
    """Count from this moment of ``time.perf_counter()``, so that imports are part of the command."""
    _BEGAN.set(moment)


@dataclass(frozen=True)
class Event:
    """A sign of life from a running job; every figure may be missing.

    Attributes:
        stage: what runs.
        seconds: since the job began.
        iteration: of the relaxation's solver.
        objective, lower_bound: the best so far in original units; ``lower_bound`` is a repaired bound.
        rank: of the solver's iterate.
        residual: the larger of its relative primal and dual residuals.
        time_left: seconds until the time limit, None where there is none.
        note: a sentence for the user.
        known: what is known so far, in some words.
    """

    stage: str
    seconds: float
    iteration: int | None = None
    objective: float | None = None
    lower_bound: float | None = None
    rank: int | None = None
    residual: float | None = None
    time_left: float | None = None
    note: str | None = None
    known: str | None = None

    @property
    def figures(self) -> list[str]:
        """What is known, in words; a bound is not shown better than it is."""
        bound, objective = self.lower_bound, self.objective
        gap = (objective - bound) / objective if objective is not None and bound is not None and objective > 0 else None
        figures = (
            ("iteration", self.iteration, str),
            ("bound", bound, down),
            ("objective", objective, up),
            ("gap", gap, percent),
            ("rank", self.rank, str),
            ("residual", self.residual, "{:.1e}".format),
        )
        told = [f"{name} {show(value)}" for name, value, show in figures if value is not None]
        return told if self.known is None else [*told, self.known]

    def __str__(self) -> str:
        """The note, or all that is known in one line."""
        left = [] if self.time_left is None else [f"{self.time_left:.0f} s left"]
        return self.note or " · ".join([self.stage, f"{self.seconds:.1f} s", *left, *self.figures])


@dataclass(frozen=True)
class Moment:
    """What was known at a time of a job, as in ``Event``; the checker has not seen each of the bounds."""

    seconds: float
    stage: str
    objective: float | None
    lower_bound: float | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def announce(event: Event, progress: Callable[[Event], None] | None) -> None:
    """Log an event, and show it to whoever watches."""
    level = logging.DEBUG if event.note is None else logging.INFO
    LOGGER.log(level, "%s", event)
    if progress is not None:
        progress(event)


class Clock:
    """Wall time, the time limit, the stages, and the notes made on the way."""

    def __init__(self, time_limit: float | None, progress: Callable[[Event], None] | None = None) -> None:
        self._start = time.perf_counter()
        self.time_limit = time_limit
        self._progress = progress
        self._last: dict[str, float] = {}
        self._moments: list[Moment] = []
        self._lock = threading.Lock()
        self.stages: dict[str, float] = {}
        self.notes: list[str] = []
        self.foreign: Exception | None = None
        """What the progress function raised."""

    @property
    def seconds(self) -> float:
        """Time since the job began."""
        return time.perf_counter() - self._start

    def left(self, share: float = 1.0, *, least: float = 0.0) -> float | None:
        """A share of the seconds until the time limit, no less than the least; None without a limit."""
        return None if self.time_limit is None else max(share * (self.time_limit - self.seconds), least)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Surrounds a stage; its time is noted however it ends."""
        begin = self.seconds
        self.tell(name)
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0.0) + self.seconds - begin

    def tell(self, stage: str, **figures: Any) -> None:
        """Keep what is new in the history, log an event with these fields, and send it if anybody listens.

        The last objective and bound are repeated until there are better ones.
        """
        figures = {name: figure for name, figure in figures.items() if figure is not None}
        seconds = self.seconds
        best: dict[str, float] = {name: figures[name] for name in ("objective", "lower_bound") if name in figures}
        with self._lock:
            if self._last | best != self._last:
                # A moment that says nothing new is no part of the history.
                self._last |= best
                moment = Moment(seconds, stage, self._last.get("objective"), self._last.get("lower_bound"))
                self._moments.append(moment)
            figures |= self._last
        try:
            announce(Event(stage, seconds, time_left=self.left(), **figures), self._progress)
        except Exception as error:
            self.foreign = error
            raise

    def note(self, stage: str, text: str) -> None:
        """Keep a sentence for the result, and say it at once."""
        self.notes.append(text)
        self.tell(stage, note=text)

    @property
    def history(self) -> tuple[Moment, ...]:
        """When bound and objective became better, thinned out evenly; the last moment is always there."""
        with self._lock:
            kept = latest = self._moments[:]
        while len(kept) >= MOMENTS:
            kept = kept[::2]
        return tuple(kept) if kept[-1:] == latest[-1:] else (*kept, latest[-1])
