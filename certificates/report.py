"""What a check found."""

from dataclasses import dataclass

from certificates.verdict import Verdict


@dataclass(frozen=True)
class CheckReport:
    """The checker's own figures; the certificate's claims are not repeated here.

    Attributes:
        verdict: PROVED when the claimed bound and objective are theorems about the data in the certificate.
        reason: one sentence; for a failure it names the first violated condition and its size.
        lower_bound: the bound that was proved, rounded down; −inf when none was.
        objective: the network's objective, rounded up; +inf when it could not be evaluated.
        gap: (objective − lower_bound)/objective from these two, +inf when undefined.
        slack_margin: smallest pivot of the slack relative to its diagonal, how far the proof was from failing; NaN if
            it was not reached.
        arithmetic: exact, ball or float, whichever really ran.
        seconds: time that checking took.
    """

    verdict: Verdict
    reason: str
    lower_bound: float
    objective: float
    gap: float
    slack_margin: float
    arithmetic: str
    seconds: float
