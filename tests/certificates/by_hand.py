"""Certificates of training for every loss and bias, made without a prover, and what is true of them.

W pairs rows: what is added to one is taken off the other, towards their targets and on a coarse grid. So all its sums
are exactly 0, and it is in the domain of every loss. Small enough, it is proved feasible without products.
"""

import itertools
from functools import cache

import numpy as np

from certificates import Certificate, Training, Verdict, check, fingerprint
from certificates.certificate import TrainingProof
from certificates.proof import LiftedProof
from certificates.subdivision import Subdivision
from certificates.training import dual_value, network_objective
from formulations import reduce_rows
from formulations._validation import FloatArray
from tests.certificates.altering import replace
from tests.certificates.proofs import simple
from tests.strategies import rng

LOSSES = (
    "squared", "huber:0.75", "absolute", "quantile:0.3", "squared-hinge", "hinge", "logistic", "cross-entropy",
    "poisson",
)  # fmt: skip
BIASES = ("none", "penalised", "free")


def targets(loss: str, random: np.random.Generator, n: int, c: int) -> FloatArray:
    """Random targets of a loss; the first two rows differ."""
    if loss == "cross-entropy":
        return np.eye(c)[np.concatenate([np.arange(c), random.integers(0, c, n)])[:n]]
    if loss in ("hinge", "squared-hinge", "logistic"):
        Y = random.choice([-1.0, 1.0], (n, c))
        Y[0], Y[1] = 1.0, -1.0
        return Y
    Y = random.poisson(1.5, (n, c)).astype(np.float64) if loss == "poisson" else random.standard_normal((n, c))
    Y[1] = Y[0] + 1.0
    return Y


def weights(random: np.random.Generator, n: int, *, weighted: bool) -> FloatArray:
    return 0.5 + random.random(n) if weighted else np.ones(n)


def paired(Y: FloatArray, random: np.random.Generator, grid: float) -> FloatArray:
    """W (n×c) as the module's text says, made of n pairs."""
    W = np.zeros_like(Y)
    for i, j in [(0, 1), *random.integers(0, len(Y), (len(Y) - 1, 2)).tolist()]:
        step = grid * np.sign(Y[i] - Y[j])
        W[i] += step
        W[j] -= step
    return W


def problem(
    loss: str, hidden: str, output: str, *, weighted: bool = False, seed: int = 0, n: int = 6, d: int = 2, c: int = 2
) -> Training:
    """A statement about Gaussian data with a repeated row."""
    random = rng(seed)
    X = random.standard_normal((n, d))
    X[n - 1] = X[0]
    X = X if hidden == "none" else np.hstack([X, np.ones((n, 1))])
    Y, omega = targets(loss, random, n, c), weights(random, n, weighted=weighted)
    return Training(X, Y, 0.5, hidden, output, loss, omega, fingerprint(X, Y, omega))


def ball_of(X: FloatArray) -> FloatArray:
    """x̄ and an R² that is enough."""
    centre = np.round(X[:, :-1].mean(axis=0), 2)
    return np.append(centre, 1.01 * np.max(np.sum((X[:, :-1] - centre) ** 2, axis=1)))


def certificate(statement: Training, *, subdivided: bool = False, seed: int = 1) -> Certificate:
    """A true certificate with a random network, proved without products or by a subdivision."""
    random, s = rng(seed), statement
    _, d, c = s.shape
    rows = reduce_rows(s.X)
    ball = ball_of(s.X) if s.hidden_bias == "free" else np.zeros(0)
    sigma = [0.25 * s.gamma**2 / ball[-1]] if len(ball) else []
    A = rows.generators
    share = 0.1 * min(1.0, 1.0 / ball[-1]) / (1.0 + float(np.sum(ball[:-1] ** 2))) if len(ball) else 1.0
    t = np.full(len(A), -share * s.gamma**2 / np.linalg.norm(A, 2) ** 2)
    if subdivided:
        proof = Subdivision(np.eye(d), np.full(1 << d, -1), np.zeros(0), np.array(sigma))
    else:
        proof = simple(len(A), t=t, sigma=sigma)
    U, V = 0.5 * random.standard_normal((d, 3)), 0.5 * random.standard_normal((c, 3))
    a = np.zeros(c) if s.output_bias == "none" else 0.3 * random.standard_normal(c)
    W = paired(s.Y, random, 2.0**-8)
    for _ in range(12):
        given = TrainingProof(W, rows.source, rows.generator, proof, U, V, a, ball)
        claims = {"lower_bound": dual_value(s, W), "objective": network_objective(s, U, V, a)}
        made = Certificate(s, (given,), claims)
        if check(made).verdict is Verdict.PROVED:
            return made
        W = 0.5 * W
    raise AssertionError(check(made).reason)


@cache
def every(*, subdivided: bool = False) -> tuple[Certificate, ...]:
    """Certificates of every loss with several biases and weights."""
    kinds = [("none", "none", False), ("penalised", "penalised", True), ("free", "free", True), ("none", "free", False)]
    kinds = kinds[:3] if subdivided else [*kinds, ("free", "penalised", False), ("penalised", "none", True)]
    return tuple(
        certificate(problem(loss, hidden, output, weighted=weighted, d=1 if subdivided else 2), subdivided=subdivided)
        for loss, (hidden, output, weighted) in itertools.product(LOSSES, kinds)
    )


def forged(c: Certificate, **changes: object) -> Certificate:
    """The certificate with changes and the fingerprint that fits them."""
    changed = replace(c, **changes)
    return replace(changed, data_fingerprint=fingerprint(changed.X, changed.Y, changed.sample_weight))


def is_lifted(c: Certificate) -> bool:
    return isinstance(c.proof, LiftedProof)
