"""When a running job writes its checkpoint."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from certnet.jobs.checkpoint import Checkpoint, write_checkpoint
from certnet.runtime.clock import Clock
from certnet.solvers.interface import Progress, State
from formulations._validation import FloatArray

EVERY_SECONDS = 60.0
SHARE = 0.03
"""Share of the time that may go into checkpoints while the job runs."""
FIRST_COST = 0.05
BYTES_PER_SECOND = 4e8
LAST_SECONDS = 0.5
"""What the last checkpoint may take of however short a job."""
STATE_MATRICES = 10
"""A solver's state is about so many matrices of the order of the lifted space."""


class Saver:
    """Keeps the newest checkpoint of a job and hands it over when it is due."""

    def __init__(self, first: Checkpoint, save: Callable[[Checkpoint], None] | None, clock: Clock) -> None:
        self.current = self._saved = first
        self._save = save
        self._clock = clock
        self._earlier = first.seconds
        self._writing = 0.0
        self._cost = FIRST_COST
        self._written = clock.seconds
        self._failure = ""

    def update(self, **changes: Any) -> None:
        """Change entries of the checkpoint at hand."""
        self.current = replace(self.current, **changes)

    def is_due(self) -> bool:
        """Whether it is time to write again; what writing costs must stay a small share of the time."""
        wait = max(EVERY_SECONDS, self._cost / SHARE)
        return self._save is not None and self._clock.seconds - self._written >= wait

    def tick(self) -> None:
        """Write what is new, when that is due."""
        if self.current is not self._saved and self.is_due():
            self.write()

    def look(self, progress: Progress) -> None:
        """Write what a running solver shows, when that is due."""
        begin = self._clock.seconds
        if self.is_due():
            self.take(progress)
            self.update(dual=progress.dual(), lower_bound=progress.lower_bound)
            self.write(begin)

    def look_at_network(self, U: FloatArray, V: FloatArray) -> None:
        """Keep a network (d×m, c×m) that is better than all before it, and write it when that is due."""
        self.update(U=U, V=V)
        self.tick()

    def look_at_search(self, state: Callable[[], State]) -> None:
        """Write where a branch and bound stands, when that is due."""
        begin = self._clock.seconds
        if self.is_due():
            self.update(search=state(), stage="branching")
            self.write(begin)

    def take(self, progress: Progress) -> None:
        """Copy a solver's iterate, which it also gives after it has ended."""
        primal, dual = progress.iterate() if self._save is not None and progress.iterate is not None else (None, None)
        if primal is not None and dual is not None:
            self.update(state={"S": primal.S, "W": dual.W, "N": dual.N})

    def stage_ends(self, stage: str) -> None:
        """Write at the end of a stage, unless the job is so young that this would cost it more than its share."""
        self.update(stage=stage)
        if self._writing + self._cost <= SHARE * self._clock.seconds:
            self.write()

    def write_last(self) -> None:
        """Write at the end. Matrices that would take more than their share are left out, the network never."""
        if _bytes(self.current) / BYTES_PER_SECOND > self._most(self._clock.seconds):
            if self._saved.state is not None or self._saved.search is not None:
                return  # What was written on the way is worth more.
            self.update(state=None, dual=None, search=None)
        self.write()

    def write(self, begin: float | None = None) -> None:
        """Write now; what it costs counts from ``begin``. A failure is noted, and later there is another attempt."""
        if self._save is None:
            return
        begin = self._clock.seconds if begin is None else begin
        self.update(seconds=self._earlier + self._clock.seconds)
        failure = ""
        try:
            self._save(self.current)
            self._saved = self.current
        except OSError as error:
            failure = str(error.strerror or error)
        if failure != self._failure:
            note = f"No checkpoint can be written ({failure}); the job goes on and will try again."
            self._clock.note(self.current.stage, note if failure else "Checkpoints can be written again.")
        self._failure = failure
        self._written = self._clock.seconds
        self._cost = self._written - begin
        self._writing += self._cost

    def reserve(self, order: int) -> float:
        """Seconds that ``write_last`` will take at most, for a lifted space of this order."""
        whole = self._clock.seconds + (self._clock.left() or 0.0)
        full = max(8 * STATE_MATRICES * order**2 / BYTES_PER_SECOND, 1.5 * self._cost)
        return 0.0 if self._save is None else min(full, self._most(whole))

    def _most(self, seconds: float) -> float:
        return max(LAST_SECONDS, SHARE * seconds)


def _bytes(checkpoint: Checkpoint) -> int:
    """About the size of its file."""
    dual = [] if checkpoint.dual is None else [checkpoint.dual.W, checkpoint.dual.N]
    tables = (checkpoint.state or {}, checkpoint.search or {})
    return sum(np.asarray(array).nbytes for array in [*dual, *tables[0].values(), *tables[1].values()])


def sink(checkpoint: Path | str | Callable[[Checkpoint], None] | None) -> Callable[[Checkpoint], None] | None:
    """What takes the checkpoints: a file becomes a function that writes it."""
    if isinstance(checkpoint, Path | str):
        return lambda current: write_checkpoint(checkpoint, current)
    return checkpoint
