"""The sections of the page: how a result came about, how a network does on its data, and what it was made of.

What a run's folder says is somebody else's text, of any type and size; ``text`` makes it fit to be shown.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from certnet import plots
from certnet.plots.data import counts_of
from certnet.report.proof import Proved
from certnet.report.records import Picture, Section, Table, drawn
from certnet.runtime.wording import (
    MOST,
    NONE,
    OF_CLASSES,
    OF_NUMBERS,
    PARTS,
    between,
    cleaned,
    down,
    entries,
    figure,
    first_of,
    listed,
    mapping,
    number,
    share,
    up,
)
from formulations import InputError

ALL = 1 << 20  # Names that are read, so that those left out can be counted.
TEXT = 400  # Most characters of a text.


def text(value: object, most: int = TEXT) -> str:
    """A text of limited length without control characters; a dash for nothing."""
    if value is None or value == "":
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return figure(value)
    return cleaned(str(value), most) if isinstance(value, str | int) else NONE


def names(value: object, most: int = MOST) -> list[str]:
    """The texts in a list."""
    return [text(entry, 80) for entry in entries(value, most)]


def course(one: Proved, key: str) -> Section:
    """How the result came about."""
    report = one.report
    chosen = mapping(report.get("selection"))
    objective, bound = number(report.get("objective")), number(report.get("lower_bound"))
    ended = "the objective as the run reports it; no bound is proved."
    if bound is not None:
        ended = f"the objective ended at {up(objective)}, the lower bound at {down(bound)}. The shaded part is the gap."
    caption = f"From the first network to the last bound; {ended}"
    pictures = drawn(lambda ax: plots.history(report, ax), f"{key}-history", "Bound and objective over time", caption)
    pictures += drawn(
        lambda ax: plots.selection(chosen, ax),
        f"{key}-selection",
        "The choice of the weight decay",
        f"The loss on {text(chosen.get('rows'), 20)} rows, of networks that had not learned them; "
        f"γ = {figure(chosen.get('gamma'))} was chosen.",
    )
    pictures += drawn(
        lambda ax: plots.spectrum(report, ax),
        f"{key}-spectrum",
        "Spectrum of the relaxation",
        "Leading eigenvalues of the moment matrix over the largest one; few that stand apart from the rest are a "
        "network.",
    )
    return Section("How it was found", facts=ways(report), pictures=pictures)


def ways(report: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The relaxation that was solved and the search for a proof, where there were any."""
    solved, branching, facts = mapping(report.get("relaxation")), mapping(report.get("branching")), []
    if solved:
        known = ("solver", "version", "iterations", "status")
        solver, version, steps, ended = (text(solved.get(name), 40) for name in known)
        facts.append(("relaxation", f"{solver} {version}, {steps} iterations, {ended.replace('_', ' ')}"))
    if number(report.get("rank")) is not None:
        facts.append(("rank of the relaxation", figure(report["rank"], 9)))
    if branching:
        nodes, leaves = (text(branching.get(name), 20) for name in ("nodes", "leaves"))
        figures = f"{nodes} relaxations solved, {leaves} leaves"
        if branching.get("kind") == "subdivision":
            figures = f"{nodes} cones tested, {leaves} in the proof"
        facts.append(("branching", f"{figures}, {'complete' if branching.get('complete') else 'not complete'}"))
    return tuple(facts)


def improvements(report: Mapping[str, Any]) -> Section:
    """Of a network from elsewhere: which bound came from where, and what would lower the objective."""
    if report.get("command") != "optimality":
        return Section("")
    named, sources = ("network", text(report.get("network"), 80)), mapping(report.get("bounds"))
    rows = tuple((text(name, 60), down(number(sources[name]))) for name in [*sources][:20])
    table = (Table("Lower bounds by where they come from", ("source", "bound"), rows),) if rows else ()
    return Section("What would lower the objective", facts=(named, *network_facts(report)), tables=table)


def network_facts(report: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Of a network from elsewhere: what is known of better ones."""
    trained, neuron = mapping(report.get("trained")), mapping(report.get("neuron"))
    reached = f"{up(number(trained.get('objective')))} with {figure(trained.get('width'), 9)} neurons"
    facts = (
        ("after rescaling neurons", up(number(report.get("balanced_objective")))),
        ("largest price over γ", figure(report.get("price_ratio"), 6)),
        ("one more neuron gains", figure(neuron.get("decrease"), 6)),
        ("global training reaches", reached if trained else NONE),
    )
    return tuple(fact for fact in facts if fact[1] != NONE)


def recipe_of(report: Mapping[str, Any]) -> Section:
    """Where the data came from, and what was done to them."""
    data = mapping(report.get("data"))
    recipe, counts, classes = mapping(data.get("recipe")), mapping(data.get("rows")), names(data.get("classes"), ALL)
    features = names(data.get("features"), ALL)
    rows = ", ".join(f"{text(counts[part], 20)} {part}" for part in PARTS if number(counts.get(part)))
    facts = [
        ("data", text(data.get("source") or data.get("name"), 120)),
        ("task", text(data.get("task"), 40)),
        ("target", text(recipe.get("target") or data.get("target"), 80)),
        ("rows", rows or text(data.get("n"), 20)),
        ("classes", listed(classes, 20, 80)),
        ("features", listed(features, 25, 80)),
        ("standardised", text(data.get("standardised"), 10)),
        ("part", text(data.get("part"), 20)),
        ("seed", text(data.get("seed"), 24)),
        ("fingerprint", text(data.get("fingerprint"), 80)),
    ]
    treated = first_of([text(sentence) for sentence in entries(data.get("columns"), ALL)], MOST, "columns")
    return Section("Recipe of the data", facts=tuple(f for f in facts if f[1] not in ("", NONE)), sentences=treated)


def environment(report: Mapping[str, Any]) -> Section:
    """With what it was computed, and where the time went."""
    versions, stages = mapping(report.get("versions")), mapping(report.get("stages"))
    facts = [(text(name, 40), text(versions[name], 60)) for name in [*versions][:20]]
    facts += [("time", f"{report['seconds']:.2f} s")] if number(report.get("seconds")) is not None else []
    # What took no time to speak of is left out.
    long = [name for name in [*stages][:30] if (number(stages[name]) or 0.0) >= 0.005]
    rows = tuple((text(name, 60), f"{stages[name]:.2f} s") for name in long)
    tables = (Table("Time of each stage", ("stage", "time"), rows),) if rows else ()
    return Section("Environment", facts=tuple(facts), tables=tables)


def on_data(one: Proved, key: str) -> Section:
    """How the network does on the rows."""
    report = one.report
    data = mapping(report.get("data"))
    if report.get("command") == "audit":
        return Section("")
    named = {words: mapping(report.get(name)) for name, words in (OF_CLASSES | OF_NUMBERS).items()}
    scores = [(words, *(figure(values.get(part)) for part in PARTS)) for words, values in named.items()]
    scores = [row for row in scores if {*row[1:]} != {NONE}]
    counts = mapping(data.get("rows"))
    head = ("", *(f"{part} ({text(counts[part], 20)})" if number(counts.get(part)) else part for part in PARTS))
    tables = [Table("Scores, by rows", head, tuple(scores))] if scores else []
    tables += [*_confusion(report), *_worst(report)]
    pictures = drawn(
        lambda ax: plots.fitted(report, ax),
        f"{key}-fitted",
        "Predictions over targets",
        "Points on the line are exact. Test rows where there are any.",
    )
    pictures += _of_network(one, key)
    note = () if not tables else ("Nothing was chosen by the test rows.",)
    return Section("On the data", pictures=pictures, tables=tuple(tables), sentences=note)


def _of_network(one: Proved, key: str) -> tuple[Picture, ...]:
    network, rows, labels = one.network, one.rows, one.labels
    if network is None or rows is None:
        return ()
    data = mapping(one.report.get("data"))
    features, classes = names(data.get("features")), names(data.get("classes"))
    found: tuple[Picture, ...] = ()
    if labels is not None and rows.shape[1] == 2:
        given = {"classes": classes or None, "features": features if len(features) == 2 else None}
        found += drawn(
            lambda ax: plots.decision_boundary(network, rows, labels, ax, **given),
            f"{key}-plane",
            "Decision boundary",
            "The class the network gives each point of the plane, with the training rows.",
        )
    return found + drawn(
        lambda ax: plots.activations(network, rows, ax, order=labels),
        f"{key}-active",
        "Active neurons",
        "Training rows from top to bottom"
        + ("" if labels is None else ", sorted by class")
        + "; a neuron is coloured where it is active.",
    )


def _confusion(report: Mapping[str, Any]) -> list[Table]:
    """The confusion matrix and what follows from it for each class."""
    matrices, classes = mapping(report.get("confusion")), names(mapping(report.get("data")).get("classes"))
    part = next((part for part in reversed(PARTS) if matrices.get(part)), None)
    try:
        matrix = counts_of(matrices.get(part or ""))
    except InputError:
        return []
    labels = classes if len(classes) == len(matrix) else [str(k) for k in range(len(matrix))]
    shown = tuple((label, *(f"{cell:g}" for cell in row)) for label, row in zip(labels, matrix, strict=True))
    with np.errstate(all="ignore"):  # 0 of 0 rows are a dash
        right, totals, given = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
        tint = tuple(map(tuple, (matrix / np.maximum(totals, 1)[:, None]).tolist()))
        ratios = np.stack([right / given, right / totals, 2.0 * right / (totals + given)], axis=1).tolist()
    each = [(label, f"{total:g}", *map(share, row)) for label, total, row in zip(labels, totals, ratios, strict=True)]
    head = ("class", "rows", "precision", "recall", "F1")
    return [
        Table(f"Confusion matrix ({part} rows)", ("class \\ predicted", *labels), shown, tint=tint),
        Table(f"Each class ({part} rows)", head, tuple(each)),
    ]


def _worst(report: Mapping[str, Any]) -> list[Table]:
    found = mapping(report.get("worst"))
    rows = [mapping(row) for row in entries(found.get("rows"), 10)]
    values = ((_values(row.get("target")), _values(row.get("predicted")), figure(row.get("loss"))) for row in rows)
    cells = tuple((text(row.get("row"), 20), *shown) for row, shown in zip(rows, values, strict=True))
    if not cells:
        return []
    note = "Rows are counted from 0 among these rows."
    title = f"The rows with the largest loss ({text(found.get('part'), 20)} rows)"
    return [Table(title, ("row", "target", "predicted", "loss"), cells, first_number=3, note=note)]


def _values(value: object) -> str:
    """A class, or the numbers of a regression."""
    return ", ".join(figure(entry) for entry in entries(value, 6)) if isinstance(value, list) else text(value, 60)


def robustness(report: Mapping[str, Any], key: str) -> Section:
    if report.get("command") != "audit":
        return Section("")
    pictures = drawn(
        lambda ax: plots.accuracy(report, ax),
        f"{key}-accuracy",
        "Accuracy by radius",
        "Certified: proved to keep the right class. Attacked: no input of another class was found. The true accuracy "
        "under attack lies between.",
    )
    pictures += drawn(
        lambda ax: plots.radii(report, ax),
        f"{key}-radii",
        "Radius of each row",
        "Up to its certified radius a row provably keeps its class; at its attacked radius it provably does not.",
    )
    head, rows = accuracies(report)
    tables = [Table("Certified to attacked accuracy within each radius", head, rows)]
    worst = tuple(
        (
            *(text(row.get(name), 60) for name in ("row", "label", "predicted")),
            *(figure(row.get(name)) for name in ("certified_radius", "attacked_radius", "margin")),
        )
        for row in map(mapping, entries(report.get("worst"), 10))
    )
    if worst:
        head = ("row", "class", "predicted", "certified radius", "attacked radius", "margin")
        tables.append(Table("Inputs that lose their class first", head, worst, first_number=3))
    return Section("Under disturbances", pictures=pictures, tables=tuple(tables))


def accuracies(report: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Names of columns and rows of a table of clean and certified to attacked accuracy, of each class and of all."""
    radii = [mapping(row) for row in entries(report.get("radii"), 12)]
    total = {"class": "all", "n": mapping(report.get("data")).get("n"), "radii": report.get("radii")}
    total["clean_accuracy"] = report.get("clean_accuracy")
    rows = []
    for row in [*map(mapping, entries(report.get("classes"))), total]:
        parts = (between(mapping(cell)) for cell in entries(row.get("radii"), 12))
        clean = share(row.get("clean_accuracy"), at_least=True)
        rows.append((text(row.get("class"), 60), text(row.get("n"), 20), clean, *parts))
    return ("class", "inputs", "clean", *(figure(row.get("radius")) for row in radii)), tuple(rows)
