"""What a Newton step of the interior point costs, guessed before there is one to measure."""

ROUND_STEPS = 25
"""Newton steps of a round."""
SECONDS_PER_CUBE = 2e-11
"""Seconds of a step by the cube of the number of constraints: 1e-11 was measured on two cores, 4e-11 on busy ones."""


def step_seconds(constraints: int) -> float:
    """Seconds of a Newton step with so many constraints."""
    return SECONDS_PER_CUBE * float(constraints) ** 3


def round_seconds(constraints: int) -> float:
    """Seconds of a round with so many constraints."""
    return ROUND_STEPS * step_seconds(constraints)


def affordable_constraints(seconds: float) -> int:
    """Inverse of ``round_seconds``."""
    return int((seconds / (ROUND_STEPS * SECONDS_PER_CUBE)) ** (1 / 3))
