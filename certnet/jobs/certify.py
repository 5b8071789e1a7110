"""The certificate at the end of a job, from duals that were repaired on the way."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from certificates import Certificate, Report, Verdict, check
from certificates.arithmetic import Arithmetic
from certificates.making import certify as certify_duals
from certificates.making import repair
from certificates.making.assemble import MARGINS, assemble, drop_negligible, replace_network
from certificates.making.repair import RepairedDual, project, raw_dual
from formulations import Dual, MergedRows
from formulations._validation import FloatArray


def repaired(merged: MergedRows, dual: Dual) -> RepairedDual:
    """What repair makes of a dual of the merged program, without negligible multipliers."""
    return repair(merged.program, drop_negligible(merged, dual))


def as_it_stands(merged: MergedRows, dual: Dual) -> RepairedDual:
    """A dual that was repaired in other coordinates: the same form, so it needs no repair, and the check decides."""
    dual = drop_negligible(merged, dual)
    W, N, t = project(merged.program, dual)
    bound = merged.program.to_original(merged.program.dual_value(W))
    return RepairedDual(W=W, N=N, t=t, lower_bound=bound, scale=1.0, h_bar=merged.program.gamma)


def certify(
    merged: MergedRows,
    dual: RepairedDual,
    U: FloatArray,
    V: FloatArray,
    *,
    provenance: Mapping[str, Any],
) -> tuple[Certificate, Report]:
    """Certificate and report for a repaired dual and a network (d×m, c×m).

    On large data a repair takes seconds, so it is repeated, with more margin, only where the check asks for that. A
    dual without products gets more margin by shrinking its W, which keeps its multipliers.
    """
    products = dual.N.size > 0
    for margin in (0.0,) if products else (0.0, *MARGINS[1:]):
        certificate = assemble(merged, replace(dual, W=(1.0 - margin) * dual.W), U, V, provenance)
        report = check(certificate, arithmetic=Arithmetic.FLOAT)
        if report.verdict is Verdict.PROVED:
            return certificate, report
    again = [raw_dual(dual.W, dual.N, dual.t, gamma=merged.program.gamma)] if products else []
    return certify_duals(merged, again, U, V, provenance=provenance)


def with_network(certificate: Certificate, report: Report, U: FloatArray, V: FloatArray) -> tuple[Certificate, Report]:
    """The certificate about another network (d×m, c×m); as it was if that network is no better.

    What the checker proved of W holds for every network. So only the objective is computed anew, with the checker's own
    rounding, unless it would contradict the bound: then the checker looks at the whole.
    """
    other = replace_network(certificate, U, V)
    objective = other.claims["objective"]
    if not objective < report.objective:
        return certificate, report
    if report.verdict is Verdict.PROVED and report.lower_bound <= objective:
        return other, replace(report, objective=objective)
    found = check(other)
    return (other, found) if found.verdict is report.verdict else (certificate, report)
