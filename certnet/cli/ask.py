"""Outputs over regions: their range, how far two networks are apart, monotonicity, and Lipschitz constants."""

from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from certificates import Verdict
from certnet.cli.calls import Answer, Asking, Entries
from certnet.cli.limits import numbers
from certnet.cli.options import NETWORK, Around, run_names
from certnet.cli.parsing import argument, option, refuse
from certnet.cli.rows import BOX, Subject, asked, input_names, parse_rows, read_features
from certnet.runtime.wording import down, figure, listed, up
from formulations import InputError
from formulations._validation import FloatArray, as_positive
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, region_maker

if TYPE_CHECKING:
    from certnet.io.columns import Columns
    from certnet.jobs.output_range import OutputRange

TOLERANCE = "How far proved and attained values may be apart, as a part of the range."


def range(
    network: str = NETWORK,
    where: str = BOX,
    *,
    output: int | None = option("One output, counted from 0; by default each."),
    pair: str | None = option("The difference of two outputs instead.", metavar="I,J"),
    weights: str | None = option("Or a sum of the outputs with these weights, one for each.", metavar="W,W,..."),
    around: Around,
    tolerance: float = option(TOLERANCE, default=1e-3),
    asking: Asking,
) -> int:
    """Prove between which values outputs lie, and name inputs that come near them."""
    subject = Subject.named(network)
    read, regions = asked(subject, where, around)
    names, C = _functions(read.outputs, output, pair, weights)
    as_positive("--tolerance", tolerance)

    def ask(label: str, region: InputRegion, **how: Any) -> Answer:
        from certnet.jobs.output_range import output_range

        return _ranges(label, names, output_range(read, region, C, tolerance=tolerance, **how))

    questions = {label: partial(ask, label, region) for label, region in regions.items()}
    return asking.answer("range", read, questions, _range_summary, network=subject.name, where=where)


def equivalence(
    network: str = NETWORK,
    other: str = argument("OTHER", "Another network of the same inputs and outputs.", shell_complete=run_names),
    where: str = BOX,
    *,
    epsilon: float | None = option("Prove that no output differs by as much as this, or find an input where one does."),
    around: Around,
    tolerance: float = option(TOLERANCE, default=1e-2),
    asking: Asking,
) -> int:
    """Prove how far the outputs of two networks are apart at most, or that they are equal up to --epsilon."""
    subject, second = Subject.named(network), Subject.named(other)
    read, regions = asked(subject, where, around)
    compared = second.read.on(classes=None if subject.read.classes is None else tuple(subject.read.classes))
    if subject.read.columns is not None and second.read.columns is not None:
        compared = _on_columns(subject.read.columns, compared, second.read.columns)
    if read.ending != compared.ending:
        raise InputError(
            f"One network ends in {read.ending or 'its outputs'}, the other in {compared.ending or 'its outputs'}; "
            "outputs before such functions are compared, so give two that end alike."
        )
    as_positive("--tolerance", tolerance)
    if epsilon is not None:
        as_positive("--epsilon", epsilon)

    def ask(label: str, region: InputRegion, **how: Any) -> Answer:
        from certnet.jobs.equivalence import difference_range, equivalence

        if epsilon is None:
            found = difference_range(read, compared, region, tolerance=tolerance, **how)
            return _ranges(label, [f"y_{k} - y'_{k}" for k, _ in enumerate(found.results)], found)
        decided = equivalence(read, compared, region, epsilon, **how)
        why = f": {decided.reason}" if decided.verdict is Verdict.UNKNOWN else ""
        line = f"{label} {decided.verdict}{why}".lstrip()
        return [(line, {"region": label or None, **decided.to_dict()})], decided.certificate

    questions = {label: partial(ask, label, region) for label, region in regions.items()}
    summary = _distance if epsilon is None else partial(_equal, epsilon)
    about: dict[str, Any] = {"network": subject.name, "other": second.name, "where": where, "epsilon": epsilon}
    return asking.answer("equivalence", read, questions, summary, **about)


def _on_columns(columns: "Columns", network: ReluNetwork, own: "Columns") -> ReluNetwork:
    """The network of its own columns as one that takes their features in the order of other columns."""
    wanted, known = columns.places, own.places
    odd = sorted({name for name, *_ in wanted.keys() ^ known.keys()})
    if odd:
        raise InputError(
            f"The two networks take different features, of {listed(odd, 6)}; give two that learned from columns of the "
            "same names, kinds and values."
        )
    hidden = network.hidden[:, [place for meaning in wanted for place in known[meaning]]]
    return ReluNetwork(hidden, network.hidden_bias, network.output, network.output_bias).as_of(network)


def monotonicity(
    network: str = NETWORK,
    where: str = BOX,
    *,
    feature: str | None = option("One input, by number or name; by default each.", "--input", metavar="J|NAME"),
    output: int | None = option("One output, counted from 0; by default each."),
    around: Around,
    asking: Asking,
) -> int:
    """Prove that outputs rise or fall with an input, the others fixed, or find inputs where they do both."""
    subject = Subject.named(network)
    read, regions = asked(subject, where, around)
    inputs = input_names(subject.read, feature)
    outputs = [int(C[0].argmax()) for _, C, _ in _outputs_of(read.outputs, output, None) if len(C) == 1]

    def ask(region: InputRegion, label: str, j: int, k: int, **how: Any) -> Answer:
        from certnet.jobs.monotonicity import monotonicity

        found = monotonicity(read, region, j, k, **how)
        word = found.direction or ("rises and falls" if found.verdict is Verdict.REFUTED else "unknown")
        low, high = map(figure, found.slopes)
        line = f"{label} y_{k} {word} in {inputs[j]}; slopes met from {low} to {high}".lstrip()
        about = {"region": label or None, "input": inputs[j], "output": k}
        return [(line, {**about, **found.to_dict()})], found.certificate

    questions = {
        f"{label} y_{k} in x_{j}".lstrip(): partial(ask, region, label, j, k)
        for (label, region), j, k in product(regions.items(), inputs, outputs)
    }
    return asking.answer("monotonicity", read, questions, _directions, network=subject.name, where=where)


def lipschitz(
    network: str = NETWORK,
    *,
    output: int | None = option("One output, counted from 0; by default each of them, and all of them in l2."),
    pair: str | None = option("The difference of two outputs instead.", metavar="I,J"),
    local: str | None = option(
        "A constant for each row of these data, on the inputs around it; by default of all outputs in l2. "
        "Data as for certnet verify (test rows where the file has them; features as they are in the file).",
        metavar="DATA",
    ),
    around: Around,
    plain: bool = option("LipSDP alone, without products of signs.", "--lipsdp", default=False),
    asking: Asking,
) -> int:
    """Prove how much outputs change at most for each unit of change of the input in l2: anywhere, or near rows."""
    subject, norm = Subject.named(network), None
    # What is asked by the name of its proof: function of the outputs, row and region.
    wanted: dict[str, tuple[str, FloatArray, int | None, InputRegion | None]]
    if local is None:
        refuse("it goes with --local DATA; without data a constant is about all inputs", around)
        read = subject.read.on()
        wanted = {file: (name, C, None, None) for name, C, file in _outputs_of(read.outputs, output, pair)}
    else:
        if around.radius is None:
            raise InputError("--local needs --radius R, which says how far around each row the constant is to hold.")
        read, X = read_features(subject, local, around.columns)
        # Without a choice there is one constant a row, that of all outputs, which comes last.
        name, C, _ = _outputs_of(read.outputs, output, pair)[-1]
        norm = around.norm or "l2"
        make, chosen = region_maker(norm), parse_rows(around.rows, len(X))
        wanted = {f"row {row}": (name, C, row, make(X[row], around.radius)) for row in chosen}
    titles = ["proved constant", "sampled", "product bound", *([] if local is None else ["unstable"]), "verdict"]
    first = ["function" if local is None else "row"]
    first += [name if row is None else str(row) for name, _, row, _ in wanted.values()]
    widths = [max(map(len, first)), *(max(len(title), 12) for title in titles[:3]), 0 if local is None else 8, 0]

    def line(*cells: str) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=False)).rstrip()

    def ask(function: str, C: FloatArray, row: int | None, region: InputRegion | None, **how: Any) -> Answer:
        from certnet.jobs.lipschitz import lipschitz_constant

        found = lipschitz_constant(read, C, region=region, products=not plain, **how)
        label, unstable = (function, []) if row is None else (str(row), [str(found.unstable)])
        verdict = str(found.report.verdict) + (f" (LipSDP: {found.note})" if found.note else "")
        shown = line(label, up(found.constant), down(found.sampled), up(found.product), *unstable, verdict)
        proof = found.certificate if found.report.verdict is Verdict.PROVED else None
        return [(shown, {"function": function, "row": row, **found.to_dict()})], proof

    questions = {label: partial(ask, *one) for label, one in wanted.items()}
    about: dict[str, Any] = {"network": subject.name, "data": local, "norm": norm, "radius": around.radius}
    about |= {"bound": "LipSDP" if plain else "products of signs", "folder": local is not None}
    return asking.answer("lipschitz", read, questions, _constants, titles=[line(first[0], *titles)], **about)


def _functions(outputs: int, output: int | None, pair: str | None, weights: str | None) -> tuple[list[str], FloatArray]:
    """Names and (r, outputs) weights of what ``certnet range`` is about."""
    if weights is None:
        chosen = [(name, C[0]) for name, C, _ in _outputs_of(outputs, output, pair) if len(C) == 1]
        return [name for name, _ in chosen], np.array([row for _, row in chosen])
    if output is not None or pair is not None:
        raise InputError("--weights excludes --output and --pair; give one of them.")
    values = np.array(numbers(weights))
    if len(values) != outputs or not np.isfinite(values).all():
        raise InputError(f"--weights must be {outputs} numbers with commas between them, not {weights[:40]!r}.")
    return [" + ".join(f"{value:g}*y_{j}" for j, value in enumerate(values) if value) or "0"], values[None]


def _ranges(label: str, names: Sequence[str], found: "OutputRange") -> Answer:
    """Lines and entries of functions on a region."""
    rows = [
        (f"{label} {name}: {one}".lstrip(), {"region": label or None, "function": name, **one.to_dict()})
        for name, one in zip(names, found.results, strict=True)
    ]
    return rows, found.certificate


def _range_summary(entries: Entries) -> str:
    from certnet.jobs.output_range import said

    unknown = sum(entry["verdict"] != Verdict.PROVED for entry in entries)
    return said(len(entries), unknown, sum(entry["open"] for entry in entries))


def _distance(entries: Entries) -> str:
    """How far the outputs are apart at most, and how far they were seen to be."""
    ends = [entry[end] for entry in entries for end in ("minimum", "maximum")]
    met = max(abs(end["attained"]) for end in ends)
    if any(end["proved"] is None for end in ends):
        return f"there is no proved bound on all differences; one of {down(met)} was met"
    worst = max(abs(end["proved"]) for end in ends)
    return f"no output differs by more than {up(worst)}, proved; a difference of {down(met)} was met"


def _equal(epsilon: float, entries: Entries) -> str:
    verdicts = [entry["verdict"] for entry in entries]
    if Verdict.REFUTED in verdicts:
        return f"the networks are not equal up to {epsilon!r}: at an input some output differs by as much"
    if all(verdict == Verdict.PROVED for verdict in verdicts):
        return f"all outputs differ by less than {epsilon!r}, proved"
    return f"whether the networks are equal up to {epsilon!r} could not be decided; more --time-limit may help"


def _directions(entries: Entries) -> str:
    words = [entry["direction"] or entry["verdict"] for entry in entries]
    rise, fall, both, open_ = (words.count(word) for word in ("rises", "falls", Verdict.REFUTED, Verdict.UNKNOWN))
    counts = f"{rise} provably never fall as the input grows, {fall} never rise, {both} do both, {open_} are open"
    return f"of {len(entries)} pairs of an output and an input {counts}"


def _constants(entries: Entries) -> str:
    """The reason of the first constant that is not proved, else of the first."""
    return str(min(entries, key=lambda entry: entry["verdict"] == Verdict.PROVED)["reason"])


def _outputs_of(count: int, output: int | None, pair: str | None) -> list[tuple[str, FloatArray, str]]:
    """(name, (r, outputs) matrix, name of its proof): one output, a difference of two, or each and then all in l2."""
    unit = np.eye(count)
    if output is not None and pair is not None:
        raise InputError("--output and --pair exclude each other; give one of them.")
    if pair is not None:
        words = pair.split(",")
        if len(words) != 2 or not all(word.strip().isdecimal() for word in words):
            raise InputError(f"--pair must be two outputs such as 3,7, not {pair!r}.")
        i, j = (int(word) for word in words)
        if i >= count or j >= count or i == j:
            raise InputError(f"--pair {pair} does not name two of the outputs 0 to {count - 1}.")
        return [(f"y_{i} - y_{j}", unit[[i]] - unit[[j]], f"pair {i} {j}")]
    if output is not None and not 0 <= output < count:
        raise InputError(f"the network has outputs 0 to {count - 1}, and there is no output {output}.")
    each = [(f"y_{k}", row[None], f"output {k}") for k, row in enumerate(unit)]
    if output is not None:
        return [each[output]]
    return each if count == 1 else [*each, ("all outputs", unit, "all outputs")]
