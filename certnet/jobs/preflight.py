"""What is decided before a job begins."""

from certnet.jobs.checkpoint import Checkpoint, environment, program_fingerprint
from certnet.runtime.machine import available_bytes
from certnet.solvers.registry import choose_solver
from formulations import InputError, MergedRows, TrainingProgram

EXPECTED_SHARE = 0.6
"""About the share of a time limit that the relaxation gets."""
BYTES_PER_ROW = 8 * 5000
BYTES_PER_ENTRY = 8 * 40
"""Memory of training and of the cheap bound: for each row, whatever its length, and for each number of the data."""
TOO_LARGE = (
    "Memory or time do not suffice for the relaxation of {neurons} distinct data directions; the bound is that of the "
    "relaxation without products, which is weaker."
)


def require_memory(merged: MergedRows) -> None:
    """Refuse what cannot even be trained on here, before anything is lost.

    Raises:
        InputError: naming what is needed and what there is, or an X whose squares vanish.
    """
    merged.original.require_size()
    (n, d, c), available = merged.original.shape, available_bytes()
    needed = n * (BYTES_PER_ROW + BYTES_PER_ENTRY * (d + c))
    if not needed <= available:
        raise InputError(
            f"{n} rows of {d} features need about {needed / 2**30:.1f} GiB and this process may take "
            f"{available / 2**30:.1f} GiB more; use fewer rows."
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
