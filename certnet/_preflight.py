"""What is decided before a job begins."""

import os

from certnet.checkpoint import Checkpoint, environment, program_fingerprint
from certnet.solvers.registry import choose_solver
from formulations import InputError, MergedRows, TrainingProgram

EXPECTED_SHARE = 0.6
"""About the share of a time limit that the relaxation gets."""
_BYTES_PER_ENTRY = 12 * 8


def require_memory(merged: MergedRows) -> None:
    """Refuse what cannot fit, before hours are lost; the relaxation needs some matrices of order 2N+d+c."""
    order = merged.program.space.order
    needed = order**2 * _BYTES_PER_ENTRY
    try:
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return
    if needed > available:
        raise InputError(
            f"the relaxation of {merged.program.space.neurons} distinct data directions needs about "
            f"{needed / 2**30:.0f} GiB and this machine has {available / 2**30:.0f} GiB; use fewer rows."
        )


def choose(merged: MergedRows, resume: Checkpoint | None, time_limit: float | None) -> tuple[str, str]:
    """What "auto" stands for in a job of ``time_limit`` seconds, and why."""
    if resume is not None:
        return resume.solver, f"auto goes on with {resume.solver}, which made the checkpoint."
    choice = choose_solver(merged.program, None if time_limit is None else EXPECTED_SHARE * time_limit)
    return choice.solver, f"auto chose {choice.solver}, because {choice.reason}."


def beginning(
    program: TrainingProgram,
    resume: Checkpoint | None,
    *,
    solver: str,
    tolerance: float,
    random_state: int,
    device: str,
) -> Checkpoint:
    """The checkpoint of a job that has not done anything yet; to be called with the threads that the job will use."""
    return Checkpoint(
        fingerprint=program_fingerprint(program),
        stage="presolve",
        seconds=0.0 if resume is None else resume.seconds,
        solver=solver,
        tolerance=tolerance,
        random_state=random_state,
        device=device,
        environment=environment(),
    )
