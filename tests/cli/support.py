"""A quick stand-in for the job, with true certificates, and a way to call the command line."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certificates.making.assemble import certify, residual_dual
from certnet.cli import main
from certnet.jobs.selection import Selection
from certnet.jobs.train import Event, TrainingResult
from formulations import TrainingProgram, merge_rows


@dataclass(frozen=True)
class Outcome:
    """What a call left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """stdout as one strict JSON object."""
        return strict(self.out)


def strict(text: str) -> dict[str, Any]:
    """Parse one JSON object, refusing NaN and Infinity."""

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is no JSON")

    value = json.loads(text, parse_constant=refuse)
    assert isinstance(value, dict)
    return value


Call = Callable[..., Outcome]


def caller(capsys: pytest.CaptureFixture[str]) -> Call:
    """A function that runs ``certnet`` with its arguments in this process."""

    def call(*arguments: object) -> Outcome:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


def quick_train(
    program: TrainingProgram,
    *,
    solver: str,
    time_limit: float | None,
    tolerance: float,
    random_state: int,
    progress: Callable[[Event], None] | None,
    provenance: Mapping[str, Any] | None,
    **_: Any,
) -> TrainingResult:
    """Random hidden weights, output weights along the slope of the loss, and the true certificate of their dual."""
    rng = np.random.default_rng(random_state)
    U = 0.3 * rng.normal(size=(program.X.shape[1], 6))
    hidden = np.maximum(program.X @ U, 0.0)
    slope = program.dual(U, np.zeros((program.shape[2], 6))).T @ hidden
    V = min((t * slope for t in 0.5 ** np.arange(1, 30)), key=lambda V: program.objective(U, V))
    if progress is not None:
        progress(Event("rounding", 0.1, objective=program.objective(U, V)))
    merged = merge_rows(program)
    certificate, report = certify(merged, [residual_dual(merged, U, V)], U, V, provenance=provenance)
    return TrainingResult(program, certificate, report, stages={"rounding": 0.1}, rank=3)


def quick_choice(*_: Any, **__: Any) -> Selection:
    """A choice of the weight decay that costs nothing."""
    return Selection((1.0, 0.1), (0.5, 0.4), 0.1, rows=3, folds=1, complete=True, interrupted=False, seconds=0.01)


def write_points(folder: Path) -> Path:
    """A small CSV file with decimal commas, as a spreadsheet writes it."""
    path = folder / "points.csv"
    rows = [f"{i % 5},5;{(i * 7) % 4 - 1},25;{'red' if i % 3 else 'blue'}" for i in range(15)]
    path.write_text("\ufeffx;y;colour\r\n" + "\r\n".join(rows) + "\r\n", encoding="utf-8")
    return path


def files(folder: Path) -> list[str]:
    """Everything below a folder, hidden files too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def one_sentence(outcome: Outcome) -> str:
    """The only line on stderr."""
    assert outcome.err.startswith("certnet: "), outcome.err
    assert outcome.err.count("\n") == 1
    assert outcome.err.endswith((".\n", "?\n"))
    assert "Traceback" not in outcome.err
    return outcome.err


LISTENING = (
    sys.executable,
    "-c",
    "import os, signal, sys\n"
    "for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):\n"
    "    signal.signal(number, signal.SIG_DFL)\n"
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])",
)
"""Before the arguments of Python: what a test run in the background or below ``nohup`` ignores, it would too.

Not a ``preexec_fn``, which may hang where threads of earlier tests still run.
"""
