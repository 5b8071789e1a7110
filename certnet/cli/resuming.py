"""Checkpoints of ``certnet train``: what they keep of the options, and how these come back with ``--resume``.

A job that goes on ends with no worse bound than it had, if that can be checked in time: it lies in the folder's
certificate. One that cannot stays beside the new one.
"""

import contextlib
import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

from certificates import Training, Verdict, check, read_certificate, write_certificate
from certnet.cli.limits import seconds_or_none
from certnet.cli.parsing import written
from certnet.io.arrays import BUILT_IN
from certnet.jobs.best import with_network
from certnet.jobs.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from certnet.jobs.stages import LAST_PROOF_SECONDS
from certnet.jobs.train import TrainingResult
from formulations import InputError

CHECKPOINT, EARLIER = "checkpoint.npz", "earlier.cert"
CHANGEABLE = frozenset(
    {"resume", "time_limit", "json", "quiet", "device", "gap", "nodes", "workers", "threads", "scheduler", "circuits"}
)
"""Options that may differ from those of the run that is resumed."""
LISTS = ("features", "drop", "categorical")  # Options that list names of columns.

_TYPES: dict[Any, str] = {
    str: "data source solver device method loss hidden_bias output_bias impute",
    str | None: f"target task class_weight weight_column {' '.join(LISTS)}",
    bool: "raw no_split refit circuits",
    float: "gamma tolerance",
    float | None: "time_limit gap",
    int: "seed workers",
    int | None: "nodes threads",
}
STORED = {name: get_args(kind) or (kind,) for kind, names in _TYPES.items() for name in names.split()}
"""What a checkpoint keeps of the options, with their types. ``source`` says where ``data`` lie: an absolute path."""


class Keeper:
    """Writes the checkpoints of a job, with what the command line needs to go on."""

    def __init__(self, path: Path, notes: Mapping[str, Any]) -> None:
        self.path, self._notes = path, notes
        self.size = 0  # Bytes of the last checkpoint that this job wrote.

    def __call__(self, checkpoint: Checkpoint) -> None:
        write_checkpoint(self.path, replace(checkpoint, about=self._notes))
        self.size = self.path.stat().st_size

    def remove(self) -> None:
        """Remove the file, also one of an earlier job; a file that stays in spite of this does no harm."""
        with contextlib.suppress(OSError):
            self.path.unlink()


def about(options: SimpleNamespace) -> dict[str, Any]:
    """The JSON object by which ``resumed`` finds data and options again."""
    return {name: getattr(options, name) for name in STORED} | {"source": _absolute(options.source)}


def _absolute(source: str) -> str:
    """A source that does not depend on the current folder."""
    return source if source in BUILT_IN else str(Path(source).resolve())


def resumed(options: SimpleNamespace, given: Collection[str]) -> SimpleNamespace:
    """The options of the checkpoint in the folder ``options.resume``, with what is ``given`` now and may change."""
    folder = options.resume
    checkpoint = read_checkpoint(Path(folder) / CHECKPOINT)
    stored = {name: checkpoint.about.get(name) for name in STORED}
    try:
        if any(type(stored[name]) not in types for name, types in STORED.items()):
            raise InputError("an option has another type.")
        seconds_or_none(stored["time_limit"] or 0.0)
    except InputError:
        raise InputError("The checkpoint does not say how it was made; it was not written by certnet train.") from None
    for name in sorted(set(given) - CHANGEABLE):
        now, before = getattr(options, name), stored.get(name)
        if name == "gamma" and now is None:
            continue  # The choice was made.
        if name == "out":
            now, before = (str(Path(path).resolve()) for path in (now, folder))
        if (_absolute(now) != stored["source"]) if name == "data" else (now != before):
            option = "DATA" if name == "data" else written(name)
            made = "without it" if isinstance(before, bool) else f"with {'the default' if before is None else before}"
            raise InputError(
                f"{option} was given, but the checkpoint was made {made}; leave it out, or train anew without --resume."
            )
    changed = {name: getattr(options, name) for name in CHANGEABLE & set(given)}
    return SimpleNamespace(**{**vars(options), **stored, **changed, "out": folder, "checkpoint": checkpoint})


def with_earlier(result: TrainingResult, path: Path) -> TrainingResult:
    """The result with the proof of an earlier part of its job, if the certificate there is of a better bound.

    A short part may end before it has found that again. The proof is checked for some seconds at most; one that takes
    longer stays in a file of its own, with a note.
    """
    kept, most = path.with_name(EARLIER), -math.inf
    for place in (kept, path):
        try:
            earlier = read_certificate(place)
        except (InputError, OSError):
            continue
        names = ("data_fingerprint", "gamma", "loss", "hidden_bias", "output_bias")
        about = [[getattr(one.statement, name, None) for name in names] for one in (earlier, result.certificate)]
        claimed = earlier.claims.get("lower_bound")
        if place == kept:
            most = claimed or -math.inf
        if not isinstance(earlier.statement, Training) or about[0] != about[1] or claimed is None:
            continue
        if not claimed > result.report.lower_bound:
            if place == kept:
                with contextlib.suppress(OSError):
                    kept.unlink()
            continue
        try:
            report = check(earlier, time_limit=LAST_PROOF_SECONDS)
        except KeyboardInterrupt:
            result = replace(result, interrupted=True)
            continue
        if report.verdict is Verdict.UNKNOWN and report.seconds >= LAST_PROOF_SECONDS:
            with contextlib.suppress(OSError):
                if place != kept and not most >= claimed:
                    write_certificate(kept, earlier)
            note = f"A certificate of an earlier run claims {claimed:.6g}; its check takes more than "
            note += f"{LAST_PROOF_SECONDS:g} s, so it stays: {kept.name}"
            result = replace(result, notes=(*result.notes, note))
        elif report.verdict is Verdict.PROVED and report.lower_bound > result.report.lower_bound:
            own = result.certificate.proofs[0]
            certificate, report = with_network((earlier, report), (own.U, own.V), result.program)
            result = replace(result, certificate=certificate, report=report)
    return result
