"""How a result came about, what would improve it, and with what it was made."""

from collections.abc import Mapping
from typing import Any

from certnet import plots
from certnet.report.proof import Proved
from certnet.report.records import Section, Table, drawn
from certnet.report.words import names, text
from certnet.runtime.fields import MOST, entries, mapping, number
from certnet.runtime.wording import NONE, PARTS, down, figure, first_of, listed, up

ALL = 1 << 20
"""Names that are read, so that those left out can be counted."""


def course(one: Proved, key: str) -> Section:
    """How the result came about."""
    report = one.report
    chosen = mapping(report.get("selection"))
    ended = "the objective as the run reports it; no bound is proved."
    if number(report.get("lower_bound")) is not None:
        ended = (
            f"the objective ended at {up(number(report.get('objective')))}, the lower bound at "
            f"{down(number(report.get('lower_bound')))}. The shaded part is the gap."
        )
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
    reached = (
        f"{up(number(trained.get('objective')))} with {figure(trained.get('width'), 9)} neurons" if trained else NONE
    )
    facts = (
        ("after rescaling neurons", up(number(report.get("balanced_objective")))),
        ("largest price over γ", figure(report.get("price_ratio"), 6)),
        ("one more neuron gains", figure(neuron.get("decrease"), 6)),
        ("global training reaches", reached),
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
