"""When a running job writes its checkpoint."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from certnet._clock import Clock
from certnet.checkpoint import Checkpoint, write_checkpoint
from certnet.solvers.interface import Progress, State

EVERY_SECONDS = 60.0
SHARE = 0.03
"""Share of the time that may go into checkpoints while the job runs."""
FIRST_COST = 0.05
BYTES_PER_SECOND = 4e8
STATE_MATRICES = 10
"""A solver's state is about so many matrices of the order of the lifted space."""


class Saver:
    """Keeps the newest checkpoint of a job and hands it over when it is due."""

    def __init__(self, first: Checkpoint, save: Callable[[Checkpoint], None] | None, clock: Clock) -> None:
        self.current = first
        self._save = save
        self._clock = clock
        self._earlier = first.seconds
        self._writing = 0.0
        self._cost = FIRST_COST
        self._written = clock.seconds

    def update(self, **changes: Any) -> None:
        """Change entries of the checkpoint at hand."""
        self.current = replace(self.current, **changes)

    def look(self, progress: Progress) -> None:
        """Write what a running solver shows, when that is due."""
        begin = self._clock.seconds
        if self._save is None or begin - self._written < max(EVERY_SECONDS, self._cost / SHARE):
            return
        self.take(progress)
        self.update(dual=progress.dual(), lower_bound=progress.lower_bound)
        self.write()
        self._cost = self._clock.seconds - begin

    def look_at_search(self, state: Callable[[], State]) -> None:
        """Write where a branch and bound stands, when that is due."""
        begin = self._clock.seconds
        if self._save is None or begin - self._written < max(EVERY_SECONDS, self._cost / SHARE):
            return
        self.update(search=state(), stage="branching")
        self.write()
        self._cost = self._clock.seconds - begin

    def take(self, progress: Progress) -> None:
        """Copy a solver's state, which it also gives after it has ended."""
        if self._save is not None and progress.state is not None:
            self.update(state=progress.state())

    def stage_ends(self, stage: str) -> None:
        """Write at the end of a stage, unless the job is so young that this would cost it more than its share."""
        self.update(stage=stage)
        if self._writing + self._cost <= SHARE * self._clock.seconds:
            self.write()

    def write(self) -> None:
        """Write now. A failure is noted, and ends the writing, not the job."""
        if self._save is None:
            return
        begin = self._clock.seconds
        self.update(seconds=self._earlier + begin)
        try:
            self._save(self.current)
        except OSError as error:
            self._save = None
            reason = error.strerror or error
            self._clock.note(self.current.stage, f"No checkpoint can be written ({reason}); the job goes on without.")
        self._written = self._clock.seconds
        self._cost = self._written - begin
        self._writing += self._cost

    def reserve(self, order: int) -> float:
        """Seconds that writing once more will take at most, for a lifted space of this order."""
        return 0.0 if self._save is None else max(8 * STATE_MATRICES * order**2 / BYTES_PER_SECOND, 1.5 * self._cost)


def sink(checkpoint: Path | str | Callable[[Checkpoint], None] | None) -> Callable[[Checkpoint], None] | None:
    """What takes the checkpoints: a file becomes a function that writes it."""
    if isinstance(checkpoint, Path | str):
        return lambda current: write_checkpoint(checkpoint, current)
    return checkpoint
