"""The first sentence about a result: what it means for whoever asked.

It reads the fields that a result's JSON object has, so that the command line, ``report.json``, the page in HTML and
Python say the same. A bound that leaves much open is called weak, also where it is proved.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from certnet.runtime.wording import bounds, down, mapping, number, percent, share, up

Level = Literal["strong", "weak", "open", "refuted"]
_LEVELS: dict[str, Level] = {"PROVED": "strong", "REFUTED": "refuted"}
Spoken = tuple[Level, str]
BETTER = "in the training objective"
NOTHING = 1e-9  # Objective up to which there is nothing to learn.
CONSTANT = "This network has no neurons and answers the same for every row; a smaller --gamma lets it learn. "
WEAK_GAP = 0.2  # From this relative gap on a bound is called weak, and from this difference of shares of rows.
WEAK_FACTOR = 2.0  # A Lipschitz constant is called weak from so many times the largest gradient that was met.
FOUND_SHARE = 1e-3  # A network that is better by less than this share is not spoken of as a better one.


@dataclass(frozen=True)
class Headline:
    """A sentence or two in plain text, and how good the news is.

    That is "strong" (proved, and tells much), "weak" (proved, and leaves much open), "open" (undecided) or "refuted".
    """

    text: str
    level: Level


def headline(report: Mapping[str, Any]) -> Headline:
    """What the JSON object of a result means, by its ``command``; objects of schema ``certnet/1``, also parts of one.

    Needed are ``command``, ``verdict``, ``reason`` and the figures of that command; what is missing or of another type
    counts as unknown, so that a stored report may come from anywhere.
    """
    command = report.get("command")
    if command == "check":
        command = next((name for name in _CHECKED if name in report), "train")
    if command == "train" and isinstance(report.get("results"), list):
        command = "path"
    try:
        level, text = _SPEAKERS.get(str(command), _reason)(report)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
        level, text = _reason(report)
    return Headline(text, level)


def is_weak(gap: float | None) -> bool:
    """Whether a proved relative gap leaves so much open that it is no success."""
    return gap is None or not (gap <= WEAK_GAP)


def _reason(report: Mapping[str, Any]) -> Spoken:
    reason = str(report.get("reason") or "nothing is known").rstrip(".")
    return _LEVELS.get(str(report.get("verdict")), "open"), f"{reason[:1].upper()}{reason[1:]}."


def _training(report: Mapping[str, Any]) -> Spoken:
    gap = number(report.get("gap"))
    if report["verdict"] != "PROVED":
        reason = str(report["reason"]).rstrip(".")
        return _LEVELS.get(str(report["verdict"]), "open"), f"Nothing is proved about this network: {reason}."
    shown = bounds(report)[2]
    constant = report.get("width") == 0 and (number(report.get("objective")) or 0.0) > NOTHING
    if is_weak(gap):
        more = "" if constant else "A larger --gamma (a simpler network), fewer rows or m"
        return "weak", (
            f"{CONSTANT if constant else ''}The bound is weak here: a network that is up to {shown} better {BETTER} is "
            f"not ruled out. {more or 'M'}ore --time-limit would help."
        )
    much = "" if gap is not None and gap <= 0 else f" by more than {shown}"
    said = f"No network of any width is better than this one{much} {BETTER}."
    return "strong", f"{CONSTANT if constant else ''}{said}"


def _optimality(report: Mapping[str, Any]) -> Spoken:
    """Of a network from elsewhere: how much of the gap a better network explains, and how much the bound."""
    objective, bound, gap = (number(report.get(name)) for name in ("objective", "lower_bound", "gap"))
    if report["verdict"] != "PROVED" or objective is None or bound is None or gap is None or objective <= 0:
        return _training(report)
    decrease = number(mapping(report.get("neuron")).get("decrease")) or 0.0
    others = number(report.get("balanced_objective")), number(mapping(report.get("trained")).get("objective"))
    best = min(value for value in (objective, objective - decrease, *others) if value is not None)
    from certificates.report import relative_gap  # brings NumPy, which --help does without

    found = relative_gap(objective, best)
    if not found > FOUND_SHARE:
        return _training(report)
    shown = bounds(report)[2]
    text = f"This network is not optimal: one that is {share(found, at_least=True)} better {BETTER} was found"
    if best > 0 and is_weak(relative_gap(best, bound)):
        return "weak", f"{text}. The bound is weak here: up to {shown} better is not ruled out."
    return "strong", f"{text}, and no network of any width is better by more than {shown}."


def _path(report: Mapping[str, Any]) -> Spoken:
    rows: Sequence[Mapping[str, Any]] = report["results"]
    proved = [row for row in rows if row["verdict"] == "PROVED"]
    weak = [row for row in proved if is_weak(number(row.get("gap")))]
    best = report.get("best")
    chosen = "" if best is None else f" Gamma {float(best['gamma']):g} does best on the validation rows."
    if len(proved) < len(rows):
        return "open", f"Only {len(proved)} of {len(rows)} weight decays are proved.{chosen}"
    if weak:
        names = ", ".join(f"{float(row['gamma']):g}" for row in weak)
        worst = percent(max(number(row.get("gap")) or math.inf for row in weak))
        return "weak", (
            f"The bound is weak for gamma {names}: networks up to {worst} better {BETTER} are not ruled out there; "
            f"more --time-limit would help.{chosen}"
        )
    worst = percent(max(number(row.get("gap")) or 0.0 for row in proved))
    return "strong", (
        f"For each of {len(rows)} weight decays no network of any width is better than the one found by more than "
        f"{worst} {BETTER}.{chosen}"
    )


def _tightness(report: Mapping[str, Any]) -> Spoken:
    verdict, relaxed = report["verdict"], report["relaxation"]
    shown = bounds({**relaxed, "objective": report["objective"]})[2]
    if verdict == "PROVED":
        return "strong", f"The relaxation is exact here up to {shown}: its bound meets a network."
    if verdict == "REFUTED":
        return "refuted", "The relaxation is loose here: its value is proved to lie below the optimum."
    if is_weak(number(relaxed.get("gap"))):
        return "open", (
            f"Nothing can be said about tightness yet: the bound on the relaxation is weak, {shown} below the best "
            "network. More --time-limit, a larger gamma or fewer rows would help."
        )
    return "open", f"It is open whether the relaxation is exact: bound and network are {shown} apart."


def _verify(report: Mapping[str, Any]) -> Spoken:
    known: dict[str, Spoken] = {
        "unsat": ("strong", "No input of the region is unsafe."),
        "sat": ("refuted", "There is an unsafe input."),
        "timeout": ("open", "Time was up before this was decided; more --time-limit would help."),
        "unknown": ("open", "This could not be decided."),
    }
    if "results" not in report:
        return known[report["result"]]
    counts, rows = report.get("counts"), len(report["results"])
    if counts is None or "instances" in report or report.get("interrupted"):
        return _reason(report)
    open_ = counts["unknown"] + counts["timeout"]
    return "open" if open_ > WEAK_GAP * rows else "strong", (
        f"{counts['unsat']} of {rows} rows provably keep their class within {report['norm']} "
        f"{float(report['radius'])!r}; {counts['sat']} provably do not, {counts['misclassified']} are wrong as "
        f"they are, {open_} are open."
    )


def _audit(report: Mapping[str, Any]) -> Spoken:
    """At the largest radius at which half of the inputs are certified, else at the smallest one."""
    rows = report["radii"]
    row = max((row for row in rows if row["certified_accuracy"] >= 0.5), default=rows[0], key=lambda row: row["radius"])
    least, most = row["certified_accuracy"], row["attacked_accuracy"]
    where = f"within {report['norm']} {float(row['radius']):g} of an input"
    figures = f"between {share(least, at_least=True)} and {share(most, at_least=False)}"
    if least == most:
        figures = share(least, at_least=True)
    if most - least > WEAK_GAP:
        return (
            "weak",
            f"The bounds are weak here: {where}, the accuracy is {figures}. A larger --input-limit would help.",
        )
    return "strong", (
        f"The accuracy {where} is {figures}, proved; on the undisturbed inputs it is "
        f"{share(report['clean_accuracy'], at_least=True)}."
    )


def _lipschitz(report: Mapping[str, Any]) -> Spoken:
    results: Sequence[Mapping[str, Any]] = report["results"]
    if report["verdict"] != "PROVED":
        return _reason(report)
    worst = results[-1] if report.get("data") is None else max(results, key=lambda one: one["constant"])
    where = "" if report.get("data") is None else f" near the {len(results)} rows"
    what = "The outputs change" if worst["function"] == "all outputs" else f"{worst['function']} changes"
    text = f"{what} by at most {up(worst['constant'])} for each unit of change of the input in l2{where}, proved"
    factor = worst["constant"] / worst["sampled"] if worst["sampled"] > 0 else math.inf
    if factor > WEAK_FACTOR:
        return "weak", f"{text}. The bound may be weak: the largest gradient that was met is {down(worst['sampled'])}."
    return "strong", f"{text}; a gradient of {down(worst['sampled'])} was met."


def _checked(report: Mapping[str, Any]) -> Spoken:
    """Of a certificate about a network."""
    if report["verdict"] != "PROVED":
        return _reason(report)
    if "constant" in report:
        change = "The function changes by at most"
        return "strong", f"{change} {up(report['constant'])} times as much as the input, in l2, proved."
    return "strong", "No input of the stated regions is unsafe, proved."


_CHECKED = ("results", "constant", "property")
"""Fields of reports of ``certnet check`` that are not about training."""
_SPEAKERS: dict[str, Callable[[Mapping[str, Any]], Spoken]] = {
    "train": _training,
    "constant": _checked,
    "property": _checked,
    "optimality": _optimality,
    "path": _path,
    "tightness": _tightness,
    "verify": _verify,
    "audit": _audit,
    "lipschitz": _lipschitz,
}
