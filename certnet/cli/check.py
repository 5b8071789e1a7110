"""``certnet check``."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from certificates import Certificate, Training, Verdict, check, fingerprint, read_certificate
from certificates.arithmetic import Arithmetic
from certnet.cli.exits import BY_VERDICT, Exit
from certnet.cli.report import check_report, failure, head
from certnet.cli.show import NONE, down, percent, up
from certnet.io import Recipe, Split, load, source_kind
from certnet.io.output import standard_output, strict_json
from formulations import InputError, TrainingProgram


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """The options of the command."""

    data: str | None
    network: str | None = None
    stated: str | None = None
    arithmetic: Arithmetic
    time_limit: float | None
    json: bool


def run_check(paths: Sequence[Path], options: CheckOptions) -> int:
    """Check certificates, print what was found, and return the exit code.

    With several files a broken one is a row of the table, not the end; the exit code is the worst of all.

    Raises:
        InputError: a single file that is no readable certificate, or one about other data; or a bad option.
    """
    if len(paths) == 1:
        found = _examine(paths[0], options)
        with standard_output():
            _print_one(found, options)
        return _code(found)
    results: list[dict[str, Any]] = []
    for path in paths:
        try:
            results.append(_examine(path, options))
        except InputError as error:
            results.append({**failure("check", str(error), Exit.USAGE), "files": {"certificate": str(path)}})
    code = min((_code(found) for found in results), key=_SEVERITY.index)
    with standard_output():
        if options.json:
            sys.stdout.write(strict_json(_together(results)) + "\n")
        else:
            _print_table(results)
    return code


_SEVERITY = (Exit.REFUTED, Exit.USAGE, Exit.UNKNOWN, Exit.OK)


def _code(found: Mapping[str, Any]) -> Exit:
    return Exit.USAGE if found["verdict"] is None else BY_VERDICT[Verdict(found["verdict"])]


def _examine(path: Path, options: CheckOptions) -> dict[str, Any]:
    certificate = read_certificate(path)
    if not isinstance(certificate.statement, Training):
        from certnet.cli.check_network import examine

        if options.data is not None:
            raise InputError(f"{path} is about a network; use --network and --property instead of --data.")
        return examine(path, certificate, options)
    if options.network is not None or options.stated is not None:
        raise InputError(f"{path} is about training data; use --data instead of --network and --property.")
    rows = None if options.data is None else compare(certificate, options.data)
    report = check(certificate, arithmetic=options.arithmetic, time_limit=options.time_limit)
    return check_report(report, certificate, path=path, compared_with=options.data, rows=rows)


def _arithmetic(found: Mapping[str, Any]) -> str:
    """What proved the bound; a dash when no bound was proved."""
    return found["arithmetic"] if found["lower_bound"] is not None else NONE


def _together(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One object for several files: its verdict is PROVED only if all are."""
    worst = min(results, key=lambda found: _SEVERITY.index(_code(found)))
    proved = sum(found["verdict"] == Verdict.PROVED for found in results)
    return {
        **head("check", None, f"{proved} of {len(results)} certificates are proved"),
        "verdict": worst["verdict"],
        "results": list(results),
    }


def _print_one(found: Mapping[str, Any], options: CheckOptions) -> None:
    if options.json:
        sys.stdout.write(strict_json(found) + "\n")
        return
    if "network" in found:
        from certnet.cli.check_network import network_lines

        sys.stdout.writelines(f"{name:<12} {value}\n" for name, value in network_lines(found).items())
        return
    lines = {
        "verdict": found["verdict"],
        "reason": found["reason"],
        "lower bound": down(found["lower_bound"]),
        "objective": up(found["objective"]),
        "gap": percent(found["gap"]),
        "arithmetic": _arithmetic(found),
        **theorem(found),
    }
    sys.stdout.writelines(f"{name:<12} {value}\n" for name, value in lines.items())


def theorem(found: Mapping[str, Any]) -> dict[str, str]:
    """The problem that the figures of a report are about, in lines: two problems never have the same.

    Numbers are given in all their digits, and of the rows only what was seen in this run.
    """
    data, bias = found["data"], " (the last feature is 1 in every row: a bias)" if found["bias"] else " (no bias)"
    shape = f"n = {data['n']}, d = {data['d']}{bias}, c = {data['c']}"
    copy = f"the copy inside the certificate, SHA-256 {data['fingerprint'][:12]}…"
    lines = {
        "about": f"networks of every width; {shape}; gamma = {found['gamma']!r}",
        "loss": "½ of the sum of squares, plus gamma/2 of the squares of all weights",
    }
    rows = data["rows"]
    if rows is None:
        return {**lines, "data": f"{copy}; it was compared with nothing (--data compares it)"}
    return {
        **lines,
        "data": f"{data['compared_with']}, equal to {copy}",
        "rows": rows["which"],
        "features": rows["features"],
        "targets": rows["targets"],
    }


def _print_table(results: Sequence[Mapping[str, Any]]) -> None:
    """One line a file, then one line for each failure with its reason."""
    rows = [("verdict", "lower bound", "objective", "gap", "arithmetic", "seconds", "certificate")]
    for found in results:
        seconds = found.get("seconds")
        rows.append(
            (
                found["verdict"] or "UNREADABLE",
                down(found["lower_bound"]),
                up(found["objective"]),
                percent(found["gap"]),
                _arithmetic(found),
                NONE if seconds is None else f"{seconds:.2f}",
                found["files"]["certificate"],
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
    for found in results:
        if found["verdict"] != Verdict.PROVED:
            name, reason = found["files"]["certificate"], found["reason"]
            sys.stdout.write(f"{reason}\n" if Path(name).name in reason else f"{name}: {reason}\n")


def compare(certificate: Certificate, data: str) -> dict[str, Any]:
    """Rebuild X and Y from a source as the certificate's recipe says, and insist on equality.

    A certificate without a recipe is compared with all rows of the source, raw. Which rows were compared, and what was
    done to their features, is part of the theorem, and comes back.

    Raises:
        InputError: the data differ, or cannot be read.
    """
    recipe = Recipe(source=data, raw=True, split=False, bias=certificate.bias)
    if "data" in certificate.provenance:
        stored = Recipe.from_json(certificate.provenance["data"])
        target = stored.target if source_kind(data) == "csv" else None
        recipe = replace(stored, source=data, target=target, bias=certificate.bias)
    split = load(recipe)
    program = TrainingProgram(split.X_train, split.Y_train, certificate.gamma, bias=certificate.bias)
    given, certified = fingerprint(program.X, program.Y), fingerprint(certificate.X, certificate.Y)
    if given != certified:
        raise InputError(
            f"The certificate is about other data: its fingerprint is {certified[:12]}…, that of {data} is "
            f"{given[:12]}…; pass the data it was made from."
        )
    return _rows(split)


def _rows(split: Split) -> dict[str, Any]:
    """Which rows of a source are trained on, and how their features are scaled."""
    counts = {name: len(X) for name, X, _ in split.parts() if X is not None}
    apart = " and ".join(f"{count} {name}" for name, count in counts.items() if name != "train")
    which = f"all {counts['train']} rows"
    if apart:
        drawn = f"; split with seed {split.recipe.seed}" if split.recipe.split else ""
        which = f"the {counts['train']} training rows, without {apart} rows{drawn}"
    targets = "numbers" if split.classes is None else f"{len(split.classes)} classes, an output each (1 or 0)"
    if source_kind(split.recipe.source) == "csv":
        column = "the last column" if split.recipe.target is None else f"column {split.recipe.target!r}"
        targets = f"{column}: {targets}"
    return {
        "which": which,
        "features": "raw" if split.recipe.raw else "standardised: less the mean of these rows, over their deviation",
        "targets": targets,
        "counts": counts,
        "seed": split.recipe.seed if apart else None,
        "standardised": not split.recipe.raw,
    }
