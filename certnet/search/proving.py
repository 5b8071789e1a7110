"""More room until the checker accepts."""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from certificates import Verdict


class Report(Protocol):
    """What a check answers."""

    @property
    def verdict(self) -> Verdict:
        """PROVED, or not."""


C = TypeVar("C")
R = TypeVar("R", bound=Report)


def prove(candidates: Iterable[C], check: Callable[[C], R]) -> tuple[C, R]:
    """The first candidate that the checker accepts, with its report; else the last one and its report.

    There is at least one. They may be made lazily, each with more room between what it claims and what it could claim.
    """
    for candidate in candidates:
        report = check(candidate)
        if report.verdict is Verdict.PROVED:
            break
    return candidate, report
