"""``certnet range`` and ``certnet equivalence``: how large functions of outputs get, and how far networks differ."""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from certificates import Certificate, Verdict
from certificates.container import MAX_CASES
from certnet.cli.boxes import Around, Asked, Box, asked
from certnet.cli.limits import began, seconds_or_none, shares
from certnet.cli.lipschitz import functions_of
from certnet.cli.options import Drop, Json, Network, NoFeature, Norm, Rows, Target
from certnet.cli.output import BY_VERDICT, SEVERITY, head, place_for, with_headline, write_proof
from certnet.cli.rows import Subject
from certnet.cli.show import Live, first_line, stderr_console
from certnet.cli.verify import tell_notes
from certnet.io.output import print_result
from certnet.runtime.wording import down, up
from formulations import InputError
from formulations._validation import FloatArray, as_positive

if TYPE_CHECKING:
    from certnet.jobs.output_range import OutputRange

AroundNorm = Annotated[Norm | None, typer.Option("--norm", help="With --radius: in which norm; linf by default.")]
Tolerance = Annotated[
    float, typer.Option(help="How far proved and attained values may be apart, as a part of the range.")
]
Seconds = Annotated[float, typer.Option("--time-limit", help="Seconds for the whole command; 0 for no limit.")]
Proofs = Annotated[
    str | None,
    typer.Option("--certificate", metavar="FILE", help="Where the proof is written; of several regions a folder."),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the attacks.")]
Answer = tuple[list[tuple[str, dict[str, Any]]], Certificate | None]
"""Of one region: lines with what JSON says of each, and the proof of all."""


def range(
    network: Network,
    where: Box,
    output: Annotated[int | None, typer.Option(help="One output, counted from 0; by default each.")] = None,
    pair: Annotated[str | None, typer.Option(metavar="I,J", help="The difference of two outputs instead.")] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="W,W,...", help="Or a sum of the outputs with these weights, one for each.")
    ] = None,
    radius: Around = None,
    norm: AroundNorm = None,
    rows: Rows = None,
    target: Target = None,
    weight_column: NoFeature = None,
    drop: Drop = None,
    tolerance: Tolerance = 1e-3,
    time_limit: Seconds = 50.0,
    certificate: Proofs = None,
    seed: Seed = 0,
    json: Json = False,
) -> int:
    """Prove between which values outputs lie, and name inputs that come near them."""
    started, subject = began(), Subject.named(network)
    columns = {"target": target, "weight_column": weight_column, "drop": drop}
    about = asked(subject, where, norm=norm, radius=radius, rows=rows, **columns)
    names, C = _functions(about.network.outputs, output, pair, weights)
    as_positive("--tolerance", tolerance)

    def ask(region: Any, **how: Any) -> Answer:
        from certnet.jobs.output_range import output_range

        return _ranges(names, output_range(about.network, region, C, tolerance=tolerance, **how))

    call = _Call("range", {"network": subject.name, "where": where}, started, time_limit, certificate, json, seed)
    return call.answer(about, ask, _range_summary, 2 * len(C))


def equivalence(
    network: Network,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="Another network of the same inputs and outputs.")],
    where: Box,
    epsilon: Annotated[
        float | None,
        typer.Option(help="Prove that no output differs by as much as this, or find an input where one does."),
    ] = None,
    radius: Around = None,
    norm: AroundNorm = None,
    rows: Rows = None,
    target: Target = None,
    weight_column: NoFeature = None,
    drop: Drop = None,
    tolerance: Tolerance = 1e-2,
    time_limit: Seconds = 50.0,
    certificate: Proofs = None,
    seed: Seed = 0,
    json: Json = False,
) -> int:
    """Prove how far the outputs of two networks are apart at most, or that they are equal up to --epsilon."""
    started, subject, second = began(), Subject.named(network), Subject.named(other)
    columns = {"target": target, "weight_column": weight_column, "drop": drop}
    about = asked(subject, where, norm=norm, radius=radius, rows=rows, **columns)
    compared = second.read.on(classes=None if subject.read.classes is None else tuple(subject.read.classes))
    as_positive("--tolerance", tolerance)
    if epsilon is not None:
        as_positive("--epsilon", epsilon)

    def ask(region: Any, **how: Any) -> Answer:
        from certnet.jobs.equivalence import difference_range, equivalence

        networks = about.network, compared, region
        if epsilon is None:
            found = difference_range(*networks, tolerance=tolerance, **how)
            return _ranges([f"y_{k} - y'_{k}" for k, _ in enumerate(found.results)], found)
        decided = equivalence(*networks, epsilon, **how)
        why = f": {decided.reason}" if decided.verdict is Verdict.UNKNOWN else ""
        return [(f"{decided.verdict}{why}", decided.to_dict())], decided.certificate

    report = {"network": subject.name, "other": second.name, "where": where, "epsilon": epsilon}
    call = _Call("equivalence", report, started, time_limit, certificate, json, seed)
    summary = _distance if epsilon is None else functools.partial(_equal, epsilon)
    return call.answer(about, ask, summary, 2 * about.network.outputs)


def _functions(outputs: int, output: int | None, pair: str | None, weights: str | None) -> tuple[list[str], FloatArray]:
    """Names and (r, outputs) weights of what ``certnet range`` is about."""
    if weights is None:
        chosen = [(name, C[0]) for name, C, _ in functions_of(outputs, output, pair) if len(C) == 1]
        return [name for name, _ in chosen], np.array([row for _, row in chosen])
    if output is not None or pair is not None:
        raise InputError("--weights excludes --output and --pair; give one of them.")
    try:
        numbers = np.array([float(word) for word in weights.split(",")])
    except ValueError:
        numbers = np.full(1, np.nan)
    if len(numbers) != outputs or not np.isfinite(numbers).all():
        raise InputError(f"--weights must be {outputs} numbers with commas between them, not {weights[:40]!r}.")
    return [" + ".join(f"{value:g}*y_{j}" for j, value in enumerate(numbers) if value) or "0"], numbers[None]


def _ranges(names: Sequence[str], found: "OutputRange") -> Answer:
    """Lines and entries of the functions of one region."""
    rows = [
        (f"{name}: {one}", {"function": name, **one.to_dict()}) for name, one in zip(names, found.results, strict=True)
    ]
    return rows, found.certificate


def _range_summary(entries: Sequence[Mapping[str, Any]]) -> str:
    count, unknown = len(entries), sum(entry["verdict"] != Verdict.PROVED for entry in entries)
    if unknown:
        return f"{unknown} of {count} functions have no proved bounds"
    known = count - sum(entry["open"] for entry in entries)
    return f"all bounds are proved, and {known} of {count} ranges are known up to the tolerance"


def _distance(entries: Sequence[Mapping[str, Any]]) -> str:
    """How far the outputs are apart at most, and how far they were seen to be."""
    ends = [entry[end] for entry in entries for end in ("minimum", "maximum")]
    met = max(abs(end["attained"]) for end in ends)
    if any(end["proved"] is None for end in ends):
        return f"there is no proved bound on all differences; one of {down(met)} was met"
    worst = max(abs(end["proved"]) for end in ends)
    return f"no output differs by more than {up(worst)}, proved; a difference of {down(met)} was met"


def _equal(epsilon: float, entries: Sequence[Mapping[str, Any]]) -> str:
    verdicts = [entry["verdict"] for entry in entries]
    if Verdict.REFUTED in verdicts:
        return f"the networks are not equal up to {epsilon!r}: at an input some output differs by as much"
    if all(verdict == Verdict.PROVED for verdict in verdicts):
        return f"all outputs differ by less than {epsilon!r}, proved"
    return f"whether the networks are equal up to {epsilon!r} could not be decided; more --time-limit may help"


@dataclass(frozen=True)
class _Call:
    """One call of a command, with what its answers have in common."""

    command: str
    report: Mapping[str, Any]
    started: float
    time_limit: float
    certificate: str | None
    json: bool
    seed: int

    def answer(
        self,
        about: Asked,
        ask: Callable[..., Answer],
        summary: Callable[[Sequence[Mapping[str, Any]]], str],
        cases: int,
    ) -> int:
        """Ask about each region, write the proofs of so many cases each, and say what was found."""
        alone, limit = len(about.regions) == 1, seconds_or_none(self.time_limit)
        if self.certificate is not None and cases > MAX_CASES:
            raise InputError(
                f"a certificate file holds {MAX_CASES} cases, not {cases}; ask about fewer outputs at once."
            )
        place = None if self.certificate is None else place_for(self.certificate, "--certificate", folder=not alone)
        notes, files = tell_notes(about.network), dict[str, Any]()
        entries: list[dict[str, Any]] = []
        with Live(stderr_console(), enabled=True, time_limit=limit) as live:
            seconds = shares(limit, self.started, len(about.regions))
            for (label, region), share in zip(about.regions.items(), seconds, strict=True):
                rows, proof = ask(
                    region,
                    time_limit=share,
                    random_state=self.seed,
                    provenance={"command": self.command, **self.report, "region": label or None},
                    progress=live.part(label or self.command, self.started),
                )
                file: dict[str, Any] = {}
                if place is not None and proof is not None:
                    path = place if alone else place / f"{label.replace(' ', '-')}.cert"
                    write_proof(path, proof)
                    file = {"certificate": str(path)}
                    files = file if alone else files
                for line, entry in rows:
                    entries.append({"region": label or None, **entry, **file})
                    if not self.json:
                        print_result({}, [f"{label} {line}".lstrip()], as_json=False)
        verdict = min((Verdict(entry["verdict"]) for entry in entries), key=SEVERITY.index)
        report = {
            **head(self.command, None, summary(entries)),
            "verdict": str(verdict),
            **self.report,
            "results": entries,
            "files": files,
            "seconds": time.perf_counter() - self.started,
            "notes": notes,
        }
        report = with_headline(report)
        print_result(report, [first_line(report)], as_json=self.json)
        return BY_VERDICT[verdict]
