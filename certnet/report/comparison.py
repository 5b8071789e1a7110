"""Several runs side by side."""

from collections.abc import Sequence
from dataclasses import replace

from certnet import plots
from certnet.report.proof import Proved
from certnet.report.records import PARTS, Picture, Section, Table, View, drawn
from certnet.report.words import figure, mapping, number, text
from certnet.runtime.wording import NONE, bounds


def compared(found: Sequence[Proved], views: Sequence[View]) -> Section:
    """Several runs side by side, with the gap over γ where they are a path."""
    of_training = [one for one in found if one.report.get("command") in ("train", "optimality")]
    by_numbers = all(mapping(one.report.get("r2")) for one in of_training)
    name, words = ("r2", "R²") if by_numbers and of_training else ("accuracy", "accuracy")
    head = (
        "run",
        "loss",
        "γ",
        "objective",
        "lower bound",
        "gap",
        "neurons",
        *(f"{words} {part}" for part in PARTS[1:]),
    )
    rows = []
    for one, shown in zip(found, views, strict=True):
        report = one.report
        if one not in of_training:
            rows.append((shown.name, shown.kind, *([NONE] * 7)))
            continue
        limits = bounds({field: number(report.get(field)) for field in ("objective", "lower_bound", "gap")})
        scores = mapping(report.get(name))
        cells = (text(report.get("loss"), 30), figure(report.get("gamma")), *limits, figure(report.get("width"), 9))
        rows.append((shown.name, *cells, *(figure(scores.get(part)) for part in PARTS[1:])))
    same = {
        (None if one.certificate is None else one.certificate.data_fingerprint, str(one.report.get("loss")))
        for one in of_training
    }
    marked: tuple[int, ...] = ()
    note = ""
    if len(same) > 1:
        note = "These runs are about different data or losses, so that their objectives do not compare."
    else:
        judged = [number(mapping(one.report.get(name)).get("validation")) for one in found]
        best = max((value for value in judged if value is not None), default=None)
        marked = tuple(k for k, value in enumerate(judged) if best is not None and value == best)
        note = f"Marked: the best {words} on validation rows." if marked else ""
    gammas = {number(one.report.get("gamma")) for one in of_training}
    pictures: tuple[Picture, ...] = ()
    if len(same) == 1 and len(gammas) > 1:
        path = {"results": [{key: number(one.report.get(key)) for key in ("gamma", "gap")} for one in of_training]}
        caption = "How far apart objective and lower bound are at each weight decay."
        pictures = drawn(lambda ax: plots.path(path, ax), "path", "Gap over the weight decay", caption)
    table = Table("All runs", head, tuple(rows), first_number=2, marked=marked, note=note)
    return Section("Comparison", pictures=tuple(replace(one, wide=True) for one in pictures), tables=(table,))
