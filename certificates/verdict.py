"""The three possible answers, and why."""

from enum import StrEnum


class Verdict(StrEnum):
    """PROVED: a theorem about the float64 data. REFUTED: a counterexample is at hand. UNKNOWN: neither."""

    PROVED = "PROVED"
    REFUTED = "REFUTED"
    UNKNOWN = "UNKNOWN"
