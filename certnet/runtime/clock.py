"""Time as a job sees it: the limit, what each stage took, and signs of life for whoever watches."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


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


class Clock:
    """Wall time, the time limit, the stages, and the notes made on the way."""

    def __init__(self, time_limit: float | None, progress: Callable[[Event], None] | None = None) -> None:
        self._start = time.perf_counter()
        self.time_limit = time_limit
        self._progress = progress
        self._last: dict[str, float] = {}
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
        """Send an event with these fields, if anybody listens.

        The last objective and bound are repeated until there are better ones.
        """
        figures = {name: figure for name, figure in figures.items() if figure is not None}
        self._last.update({name: figures[name] for name in ("objective", "lower_bound") if name in figures})
        if self._progress is None:
            return
        try:
            self._progress(Event(stage, self.seconds, time_left=self.left(), **{**figures, **self._last}))
        except Exception as error:
            self.foreign = error
            raise

    def note(self, stage: str, text: str) -> None:
        """Keep a sentence for the result, and say it at once."""
        self.notes.append(text)
        self.tell(stage, note=text)
