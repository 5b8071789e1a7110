"""A checker never raises on the content of a certificate: every array replaced by every odd one."""

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest

from certificates import Verdict, check
from certificates.making.assemble import certify, residual_dual
from certnet.jobs.lipschitz import lipschitz_constant
from formulations import TrainingProgram, merge_rows
from tests.certificates.altering import replace
from tests.certificates.proofs import linear_robustness
from tests.strategies import rng
from tests.verification.problems import random_network

ODD = [
    np.array(1.0), np.array(1), np.zeros(0), np.zeros((0, 0)), np.zeros((1, 1, 1)), np.array([np.nan]),
    np.zeros(3, dtype=np.int32), np.full((2, 2), 2**62), np.full(5, -1), np.full((3, 2), -0.0), np.full(7, 1e300),
]  # fmt: skip


def training() -> Any:
    merged = merge_rows(TrainingProgram(rng(1).standard_normal((4, 2)), rng(2).standard_normal((4, 1)), 0.3))
    U, V = np.zeros((2, 0)), np.zeros((1, 0))
    return certify(merged, [residual_dual(merged, U, V)], U, V)[0]


def slope() -> Any:
    return lipschitz_constant(random_network(3, inputs=2, width=3), np.eye(2), products=True).certificate


def changed(value: Any) -> Iterator[Any]:
    """The object with one array of it, at any depth, replaced; networks and regions validate their own."""
    for entry in fields(value):
        inner = getattr(value, entry.name)
        if isinstance(inner, np.ndarray):
            yield from (replace(value, **{entry.name: odd}) for odd in ODD)
        elif is_dataclass(inner) and entry.name not in ("network", "region"):
            yield from (replace(value, **{entry.name: other}) for other in changed(inner))
        elif entry.name == "proofs":
            yield from (replace(value, proofs=(other,)) for other in changed(inner[0]))


@pytest.mark.parametrize(("make", "judge"), [(training, check), (slope, check), (linear_robustness, check)])
def test_no_array_makes_a_checker_raise(make: Callable[[], Any], judge: Callable[..., Any]) -> None:
    certificate = make()
    assert judge(certificate).verdict is Verdict.PROVED
    verdicts = [judge(mutant, time_limit=5.0).verdict for mutant in changed(certificate)]
    assert len(verdicts) > 150
    assert verdicts.count(Verdict.UNKNOWN) > 0.9 * len(verdicts)
