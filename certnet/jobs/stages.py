"""Stages of a job: each is ended in good order by Ctrl-C, left behind when time is up or when it fails numerically, and
left out when nothing is left to gain."""

import math
import time
from collections.abc import Callable, Iterable, Sequence

from certnet.jobs.best import Best
from certnet.jobs.plan import Plan
from certnet.jobs.preflight import TOO_LARGE
from certnet.runtime.abandon import Insisted, OutOfTimeError, abandonable
from certnet.runtime.clock import Clock
from certnet.runtime.numerics import guarded
from certnet.solvers.shor import shor_bound
from certnet.training.polish import Network
from formulations import MergedRows, Presolved, rescale

AGAIN_SHARE = 0.15
"""Part of a time limit that must be left for another round of training and branching."""
CONES_SHARE = 0.75
"""Part of the time left that cutting cones may take while a relaxation waits. Compiling it alone may take longer."""
PATIENCE = 2
"""Rounds without any gain after which no other follows."""
GAIN = 1e-6
"""Relative gain that counts."""
UNAFFORDABLE = "Branching on signs was left out: memory or time do not suffice for its relaxations."


class Staged:
    """What is common to the jobs that have stages.

    Attributes:
        presolved: of the training program, None without data directions.
        best: what the stages have found.
        interrupted: Ctrl-C ended a stage.
        late: a stage did not end in time and was left behind.
    """

    def __init__(self, merged: MergedRows, clock: Clock, plan: Plan, best: Best) -> None:
        self.merged, self.program = merged, merged.original
        self.presolved = Presolved(merged, rescale(merged.program)) if merged.program.space.neurons else None
        self.clock, self.plan, self.best = clock, plan, best
        self.interrupted = self.late = False

    def stage(self, name: str, work: Callable[[], None], seconds: float | None = None, *, share: float = 1.0) -> None:
        """Do the work of a stage, in at most so many seconds; by default in a share of what the plan has left.

        Raises:
            KeyboardInterrupt: a second Ctrl-C.
        """
        before, left = self.interrupted, self.plan.left()
        self.plan.kept = 0.0 if left is None else (1.0 - share) * left
        try:
            with guarded(self.clock, name):
                abandonable(work, seconds=self.plan.left() if seconds is None else seconds)
        except OutOfTimeError:
            self.late = True
        except KeyboardInterrupt as error:
            if before or isinstance(error, Insisted):
                raise
            self.interrupted = True
        finally:
            self.plan.kept = 0.0
        if self.interrupted and not before:
            self.clock.tell("finishing after Ctrl-C; press it again to abandon")

    def is_open(self, enough: float) -> bool:
        """True when the gap is larger than ``enough`` and there is time to narrow it."""
        return not (self.interrupted or self.best.gap <= enough or self.plan.left() == 0.0)

    def bound(self, stages: Iterable[tuple[str, Callable[[], None]]], enough: float, *, cones: bool) -> None:
        """Stages in turn until the gap is closed; with ``cones`` branching leaves time for a relaxation after it."""
        for name, work in stages:
            if self.is_open(enough):
                waits = cones and name == "branching" and "relaxation" not in self.clock.stages
                self.stage(name, work, share=CONES_SHARE if waits and self.plan.can_relax() else 1.0)

    def go_on(self, again: Callable[[int], None], enough: float) -> None:
        """Further rounds, numbered from 1, until the gap is closed, time runs out or nothing is gained any more."""
        idle, number = 0, 0
        while idle < PATIENCE and self.is_open(enough) and self.plan.share_left() >= AGAIN_SHARE:
            number += 1
            before = self.best.gap
            again(number)
            idle = 0 if self.best.gap < before - GAIN else idle + 1

    def without_products(self, networks: Sequence[Network], random_state: int) -> bool:
        """Look for the best bound without products; False where a proof of it would hardly fit into the time."""
        limit = self.plan.shor()
        if limit == 0.0:
            return False
        assert self.presolved is not None  # there are data directions
        found = shor_bound(
            self.presolved,
            networks=networks,
            deadline=math.inf if limit is None else time.monotonic() + limit,
            random_state=random_state,
            callback=self.best.take_dual,
        )
        self.best.take_dual(found)
        return True

    def can_relax(self) -> bool:
        """Whether the relaxation can be afforded; a note says so if not."""
        if not self.plan.can_relax():
            self.clock.note("relaxation", TOO_LARGE.format(neurons=self.merged.program.space.neurons))
            return False
        return True

    def can_branch(self, *, is_low: bool) -> bool:
        """Whether branching can be afforded, as it always is in few dimensions; a note says so if not."""
        if not (is_low or self.plan.can_branch()):
            self.clock.note("branching", UNAFFORDABLE)
            return False
        return True
