"""Verdicts on queries about two networks against enumeration, and what is printed against the text, in rationals."""

import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certificates import Verdict
from certnet.cli.query import _texts
from certnet.io.query import read_query
from certnet.jobs.verify import verify
from formulations.network import ReluNetwork
from tests.verification.test_exact_properties import holds, point_of, value

Inequality = tuple[tuple[Fraction, Fraction], Fraction, bool]
"""``a·x + b ≤ 0``, or ``< 0`` where it is strict."""
NUMBERS = ["0.1", "-0.1", "0.3", "1", "-1", "0.0", "2", "-2.5e0", "-3E-1", "1e-9", "0.25"]
NAMES = {"X_0": "x[0]", "X_1": "u[0]", "Y_0": "y[0]", "Y_1": "v[0]"}
SIGNS = {"<=": [((1, False),)], "<": [((1, True),)], ">=": [((-1, False),)], ">": [((-1, True),)]}
SIGNS |= {"=": [((1, False), (-1, False))]}
HEAD = (
    "(vnnlib-version <2.0>)\n(declare-network N (declare-input x real [1]) (declare-output y Real [1]))\n"
    "(declare-network M (declare-input u real [1]) (declare-output v Real [1]))\n"
)


def written(formula: Any) -> str:
    if isinstance(formula, list):
        return f"({' '.join(map(written, formula))})".replace("(= ", "(== ")
    return NAMES.get(formula, formula)


def disjuncts(formula: Any) -> list[list[tuple[Any, Any, int, bool]]]:
    if formula[0] == "or":
        return [conjunction for part in formula[1:] for conjunction in disjuncts(part)]
    if formula[0] == "and":
        return [[*itertools.chain(*choice)] for choice in itertools.product(*map(disjuncts, formula[1:]))]
    return [[(formula[1], formula[2], sign, strict) for sign, strict in rows] for rows in SIGNS[formula[0]]]


def feasible(rows: list[Inequality]) -> bool:
    """Whether some point of the plane meets all rows (Fourier and Motzkin)."""
    for axis in range(2):
        above = [row for row in rows if row[0][axis] > 0]
        below = [row for row in rows if row[0][axis] < 0]
        rows = [row for row in rows if row[0][axis] == 0]
        for (a, b, s), (c, d, t) in itertools.product(above, below):
            p, q = -c[axis], a[axis]
            rows.append(((p * a[0] + q * c[0], p * a[1] + q * c[1]), p * b + q * d, s or t))
    return all(b < 0 or (b == 0 and not strict) for _, b, strict in rows)


def unsafe_somewhere(networks: list[ReluNetwork], formula: Any) -> bool:
    """Whether a formula holds at some inputs: on each pattern of neurons terms are affine, told by three points."""
    lines = [(k, u, b) for k in (0, 1) for (u,), b in zip(networks[k].hidden, networks[k].hidden_bias, strict=True)]
    for signs in itertools.product((1, -1), repeat=len(lines)):
        base: list[Inequality] = []
        for sign, (k, u, b) in zip(signs, lines, strict=True):
            a = -sign * Fraction(float(u))
            base.append(((a, Fraction(0)) if k == 0 else (Fraction(0), a), -sign * Fraction(float(b)), False))
        if not feasible(base):
            continue
        active = np.array(signs) > 0

        def at(x: tuple[int, int], active: Any = active) -> dict[str, Fraction]:
            point, start = {f"X_{k}": Fraction(x[k]) for k in (0, 1)}, 0
            for k, network in enumerate(networks):
                on = active[start : start + network.width]
                start += network.width
                terms = zip(network.output[0], network.hidden[:, 0], network.hidden_bias, on, strict=True)
                point[f"Y_{k}"] = Fraction(float(network.output_bias[0])) + sum(
                    Fraction(float(v)) * (Fraction(float(u)) * x[k] + Fraction(float(b)))
                    for v, u, b, live in terms
                    if live
                )
            return point

        corners = [at((0, 0)), at((1, 0)), at((0, 1))]
        for conjunction in disjuncts(formula):
            rows = list(base)
            for left, right, sign, strict in conjunction:
                b, one, two = (sign * (value(left, corner) - value(right, corner)) for corner in corners)
                rows.append(((one - b, two - b), b, strict))
            if feasible(rows):
                return True
    return False


def test_verdicts_are_those_of_enumeration_and_what_is_printed_holds(tmp_path: Path) -> None:
    pytest.importorskip("vnnlib", reason="the vnnlib package is not installed")
    rng = np.random.default_rng(19)
    draw = lambda *choices: choices[rng.integers(len(choices))]  # noqa: E731

    def term(depth: int) -> Any:
        if depth == 0 or rng.random() < 0.4:
            return draw(*NAMES, draw(*NUMBERS), ["*", draw(*NUMBERS), draw(*NAMES)])
        return [draw("+", "-"), term(depth - 1), term(depth - 1)]

    def formula(depth: int) -> Any:
        if depth == 0 or rng.random() < 0.4:
            return [draw(*SIGNS), term(2), term(1)]
        return [draw("and", "or"), formula(depth - 1), formula(depth - 1)]

    decided = 0
    for _ in range(40):
        networks = [
            ReluNetwork(*(rng.integers(-8, 9, shape) / draw(4, 10) for shape in ((2, 1), 2, (1, 2), 1))) for _ in "NM"
        ]
        box = [[sign, name, text] for name in ("X_0", "X_1") for sign, text in ((">", "-1"), ("<=", draw(*NUMBERS)))]
        whole = ["and", *box, *draw([["=", "X_0", "X_1"]], []), formula(2)]
        files = {}
        for name, network in zip("NM", networks, strict=True):
            files[name] = str(tmp_path / f"{name}.npz")
            np.savez(files[name], W1=network.hidden, b1=network.hidden_bias, W2=network.output, b2=network.output_bias)
        (tmp_path / "query.vnnlib").write_text(f"{HEAD}(assert {written(whole)})")
        query = read_query(tmp_path / "query.vnnlib", files)
        result = verify(query.network, query.cases, time_limit=20)
        if result.verdict is not Verdict.UNKNOWN:
            decided += 1
            assert (result.verdict is Verdict.REFUTED) == unsafe_somewhere(networks, whole)
        if result.counterexample is not None:
            printed = _texts(query, result.counterexample.as_declared(query))
            x = [Fraction(*map(int, t[3:-1].split())) if t.startswith("(") else Fraction(t) for t in printed]
            point = {f"X_{k}": x[k] for k in (0, 1)}
            point |= {f"Y_{k}": point_of(network, [x[k]])["Y_0"] for k, network in enumerate(networks)}
            assert holds(whole, point)
    assert decided > 30
