"""Certificates of training for every loss and bias, made without a prover, and what is true of them.

W pairs rows: what is added to one is taken off the other, towards their targets and on a coarse grid. So all its sums
are exactly 0, and it is in the domain of every loss. Small enough, it is proved feasible without products.
"""

import itertools
from decimal import Decimal, localcontext
from fractions import Fraction

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
DIGITS = 60


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


def every(*, subdivided: bool = False) -> list[Certificate]:
    """Certificates of every loss with several biases and weights."""
    kinds = [("none", "none", False), ("penalised", "penalised", True), ("free", "free", True), ("none", "free", False)]
    kinds = kinds[:3] if subdivided else [*kinds, ("free", "penalised", False), ("penalised", "none", True)]
    return [
        certificate(problem(loss, hidden, output, weighted=weighted, d=1 if subdivided else 2), subdivided=subdivided)
        for loss, (hidden, output, weighted) in itertools.product(LOSSES, kinds)
    ]


def _fractions(values: FloatArray) -> list[list[Fraction]]:
    return [[Fraction(x) for x in row] for row in values.tolist()]


def _decimal(x: Fraction) -> Decimal:
    return Decimal(x.numerator) / Decimal(x.denominator)


def _entropy(p: Fraction, omega: Fraction) -> Fraction:
    """−p log(p/ω), to about 60 digits; −∞ as an immense number for p < 0."""
    if p < 0:
        return Fraction(-(10**400))
    return Fraction(-_decimal(p) * (_decimal(p) / _decimal(omega)).ln()) if p else Fraction(0)


def true_dual_value(s: Training, W: FloatArray) -> Fraction:
    """``Σ ω_i D(W_i/ω_i) − ‖Wᵀ1‖²/(2γ)``, from the table alone, up to 60 digits; very small off the domain."""
    name, _, parameter = s.loss.partition(":")
    number = Fraction(float(parameter or 1))
    total, off = Fraction(0), Fraction(-(10**400))
    with localcontext(prec=DIGITS):
        for ws, ys, omega in zip(_fractions(W), _fractions(s.Y), map(Fraction, s.sample_weight.tolist()), strict=True):
            for w, y in zip(ws, ys, strict=True):
                if name in ("squared", "huber", "squared-hinge"):
                    total += w * y - w * w / omega / 2
                elif name in ("absolute", "quantile", "hinge"):
                    total += w * y
                elif name == "logistic":
                    total += _entropy(w * y, omega) + _entropy(omega - w * y, omega)
                elif name == "cross-entropy":
                    total += _entropy(omega * y - w, omega)
                else:
                    total += _entropy(omega * y - w, omega) - _entropy(omega * y, omega) - w
                low, high = {
                    "huber": (-number, number),
                    "absolute": (Fraction(-1), Fraction(1)),
                    "quantile": (number - 1, number),
                    "hinge": (min(y, Fraction(0)), max(y, Fraction(0))),
                    "squared-hinge": (min(y, Fraction(0)) * 10**400, max(y, Fraction(0)) * 10**400),
                }.get(name, (w / omega, w / omega))
                total += 0 if low <= w / omega <= high else off
            total += off if name == "cross-entropy" and sum(ws) != 0 else 0
    sums = [sum(column, Fraction(0)) for column in zip(*_fractions(W), strict=True)]
    if "free" in (s.hidden_bias, s.output_bias):
        return total if not any(sums) else off
    square = sum((x * x for x in sums), Fraction(0))
    return total - square / Fraction(s.gamma) / 2 if s.output_bias == "penalised" else total


def true_loss(name: str, f: list[Fraction], y: list[Fraction]) -> Fraction:
    """ℓ of a row, up to 60 digits."""
    kind, _, parameter = name.partition(":")
    number = Fraction(float(parameter or 1))
    with localcontext(prec=DIGITS):
        if kind == "cross-entropy":
            own, most = next(a for a, b in zip(f, y, strict=True) if b), max(f)
            return most - own + Fraction(sum((_decimal(a - most).exp() for a in f), Decimal(0)).ln())
        total = Fraction(0)
        for a, b in zip(f, y, strict=True):
            r, s = b - a, max(1 - a * b, Fraction(0))
            total += {
                "squared": lambda r=r: r * r / 2,
                "huber": lambda r=r: r * r / 2 if abs(r) <= number else number * abs(r) - number * number / 2,
                "absolute": lambda r=r: abs(r),
                "quantile": lambda r=r: max(number * r, (number - 1) * r),
                "hinge": lambda s=s: s,
                "squared-hinge": lambda s=s: s * s / 2,
                "logistic": lambda a=a, b=b: max(-a * b, Fraction(0)) + Fraction((1 + _decimal(-abs(a)).exp()).ln()),
                "poisson": lambda a=a, b=b: Fraction(_decimal(a).exp()) - a * b - _entropy(b, Fraction(1)) - b,
            }[kind]()
    return total


def true_objective(s: Training, U: FloatArray, V: FloatArray, a: FloatArray) -> Fraction:
    """The objective, up to 60 digits."""
    x, v, neurons = _fractions(s.X), _fractions(V), _fractions(U.T)
    shift, total = [Fraction(value) for value in a.tolist()], Fraction(0)
    for row, y, omega in zip(x, _fractions(s.Y), map(Fraction, s.sample_weight.tolist()), strict=True):
        hidden = [max(sum(map(Fraction.__mul__, row, u), Fraction(0)), Fraction(0)) for u in neurons]
        f = [sum(map(Fraction.__mul__, hidden, out), b) for out, b in zip(v, shift, strict=True)]
        total += omega * true_loss(s.loss, f, y)
    paid = [u[:-1] if s.hidden_bias == "free" else u for u in neurons] + v
    paid += [shift] if s.output_bias == "penalised" else []
    return total + Fraction(s.gamma) * sum((value**2 for part in paid for value in part), Fraction(0)) / 2


def forged(c: Certificate, **changes: object) -> Certificate:
    """The certificate with changes and the fingerprint that fits them."""
    changed = replace(c, **changes)
    return replace(changed, data_fingerprint=fingerprint(changed.X, changed.Y, changed.sample_weight))


def is_lifted(c: Certificate) -> bool:
    return isinstance(c.proof, LiftedProof)
