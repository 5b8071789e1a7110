"""``certnet train --resume``: what a checkpoint says of the command that made it."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certnet.cli.limits import seconds_or_none
from certnet.io import Recipe
from certnet.io.builtin import BUILT_IN
from certnet.jobs.checkpoint import Checkpoint, program_fingerprint, read_checkpoint
from certnet.jobs.closing import SDP
from formulations import InputError, TrainingProgram

if TYPE_CHECKING:
    from certnet.cli.train import TrainOptions

CHECKPOINT = "checkpoint.npz"
CHANGEABLE = frozenset({"resume", "time_limit", "json", "quiet", "device", "gap", "nodes", "workers", "scheduler"})
"""Options that may differ from those of the first run."""


def about(options: "TrainOptions") -> dict[str, Any]:
    """The JSON object by which ``resumed`` finds data and options again; the only place for an absolute path."""
    return {
        "recipe": options.recipe.to_json(),
        "source": absolute(options.source or options.recipe.source),
        "gamma": options.gamma,
        "solver": options.solver,
        "tolerance": options.tolerance,
        "time_limit": options.time_limit,
        "method": options.method,
        "gap": options.gap,
        "nodes": options.nodes,
        "workers": options.workers,
    }


def absolute(source: str) -> str:
    """A source that does not depend on the current folder."""
    return source if source in BUILT_IN else str(Path(source).resolve())


def resumed(folder: str, options: "TrainOptions", given: Collection[str]) -> "TrainOptions":
    """The options of the checkpoint in ``folder``, with those that were given now and may change.

    Args:
        folder: where ``certnet train`` left a checkpoint.
        options: as they stand on the command line, defaults included.
        given: names of the parameters that stand there.

    Raises:
        InputError: no readable checkpoint, or an option that contradicts it.
    """
    checkpoint = read_checkpoint(Path(folder) / CHECKPOINT)
    stored = _stored(checkpoint, options)
    for name in sorted(set(given) - CHANGEABLE):
        now, before = _value(options, name), _value(stored, name)
        if name == "out":
            now, before = (str(Path(path).resolve()) for path in (options.out or "", folder))
        if now != before:
            option = "DATA" if name == "data" else f"--{name.replace('_', '-')}"
            made = (
                f"with {'the default' if before is None else before}" if not isinstance(before, bool) else "without it"
            )
            raise InputError(
                f"{option} was given, but the checkpoint was made {made}; leave it out, or train anew without --resume."
            )
    limit = options.time_limit if "time_limit" in given else stored.time_limit
    return replace(
        stored,
        out=folder,
        time_limit=limit,
        device=options.device if "device" in given else "cpu",
        json=options.json,
        quiet=options.quiet,
        resume=checkpoint,
        gap=options.gap if "gap" in given else stored.gap,
        nodes=options.nodes if "nodes" in given else stored.nodes,
        workers=options.workers if "workers" in given else stored.workers,
    )


def require_same_data(program: TrainingProgram, options: "TrainOptions") -> None:
    """Make sure that the data read now are those of the checkpoint.

    Raises:
        InputError: they are not.
    """
    if options.resume is not None and program_fingerprint(program) != options.resume.fingerprint:
        raise InputError(
            f"{options.recipe.source} no longer holds the data of the checkpoint; bring those back, or train anew "
            "without --resume."
        )


def _stored(checkpoint: Checkpoint, options: "TrainOptions") -> "TrainOptions":
    table = checkpoint.about
    broken = InputError("The checkpoint does not say how it was made; it was not written by certnet train.")
    try:
        recipe = Recipe.from_json(table.get("recipe"))
        limit = table.get("time_limit")
        return replace(
            options,
            recipe=recipe,
            source=_text(table, "source"),
            gamma=_number(table, "gamma"),
            solver=_text(table, "solver"),
            tolerance=_number(table, "tolerance"),
            time_limit=None if limit is None else seconds_or_none(_number(table, "time_limit")),
            method=_text({"method": SDP, **table}, "method"),
            gap=None if table.get("gap") is None else _number(table, "gap"),
            nodes=None if table.get("nodes") is None else _count(table, "nodes"),
            workers=_count({"workers": 1, **table}, "workers"),
        )
    except (InputError, TypeError):
        raise broken from None


def _text(table: Mapping[str, Any], name: str) -> str:
    if not isinstance(table.get(name), str):
        raise TypeError(name)
    return str(table[name])


def _number(table: Mapping[str, Any], name: str) -> float:
    if type(table.get(name)) not in (int, float):
        raise TypeError(name)
    return float(table[name])


def _count(table: Mapping[str, Any], name: str) -> int:
    if type(table.get(name)) is not int:
        raise TypeError(name)
    return int(table[name])


def _value(options: "TrainOptions", name: str) -> Any:
    """What the parameter of this name amounts to."""
    if name == "data":
        return absolute(options.source or options.recipe.source)
    if name == "no_split":
        return not options.recipe.split
    return getattr(options.recipe if hasattr(options.recipe, name) else options, name)
