"""What a proved bound says about predictions: how far any network that is as good can be from the one at hand.

Let W be the dual of a certificate with the proved value L, and w_i = W_i/ω_i. For every network with outputs f, of
whatever width,

    objective − L ≥ Σ_i ω_i B_i(f_i) + Σ_j ‖u_j‖‖v_j‖ (γ − ‖Wᵀ(Xu_j)₊‖/‖u_j‖),   B_i(f) = ℓ(f, y_i) − D(w_i) + ⟨w_i, f⟩,

and no term on the right is negative: D is the least value of ``ℓ(f) + ⟨w, f⟩`` (``formulations.losses``), and the proof
bounds the price ‖Wᵀ(Xu)₊‖/‖u‖ by γ. With balanced neurons and an output bias that is free or absent it is an equation.
So with Δ = objective − L each row has ``B_i(f_i) ≤ Δ/ω_i``, a convex set around the f whose dual is w_i:

| loss                     | B(f)                                    | what is bounded                             |
|--------------------------|-----------------------------------------|---------------------------------------------|
| squared                  | ½‖f − (y − w)‖²                         | outputs                                     |
| cross-entropy, logistic  | KL(p ‖ s), p = y − w, s those of f      | probabilities, each by the KL of two classes|
| poisson                  | q log(q/m) − q + m, q = y − w, m = e^f  | means e^f                                   |
| huber, squared hinge     | ½(r − w)² where ℓ is curved, r = y − f  | outputs, on a side where w is not at its end|
| hinge, absolute, quantile| (h − w)r or (l − w)r, l ≤ w ≤ h         | the same                                    |

Neurons whose price is at most (1 − η)γ carry together at most Δ/(ηγ) of Σ_j ‖u_j‖‖v_j‖: only directions with a price
near γ can be neurons of a network that is nearly optimal.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, xlogy

from certificates import Certificate, Report, Training, Verdict
from certificates.arithmetic.floating import inflate
from certificates.certificate import TrainingProof
from certificates.findings import finite
from certificates.training import fitted
from certnet.runtime.display import Result
from certnet.runtime.public import public
from certnet.runtime.wording import share, up
from formulations import InputError
from formulations._validation import FloatArray
from formulations.losses import ONE_HOT, SIGNS, Kind, kind_named

__all__ = ["PredictionRange", "prediction_range"]

OUTPUT, PROBABILITY, MEAN = "output", "probability", "mean"
STRAY = 0.9  # Share of γ below which a price counts as small in ``sentences``.
BoolArray = NDArray[np.bool_]
REACH, STEPS = 700.0, 60  # Logits and logarithms of means are looked for up to this size, in so many halvings.
ERROR = 1e-14
"""Charged for rounding, relative to the terms of B: logarithms and exponentials of numpy are within some units in the
last place, and a p that is off by one of them moves ``p log p`` by less than 1e-14."""


@dataclass(frozen=True, eq=False, repr=False)
class PredictionRange(Result):
    """Where the predictions lie of every network whose objective is at most ``objective``, on the training rows.

    Rounded outwards throughout, given that the certificate was PROVED.

    Attributes:
        quantity: what is bounded: "output"; "probability" of each class, for logistic loss of the class 1; "mean".
        objective: of the networks that this is about.
        gap: Δ, the objective less the proved bound.
        lower, upper: (n, c) of those predictions; infinite where an output is not bounded.
        worst: (n,) how far any entry of a row can be from the given network's.
        root_mean_square: most of the root of the mean (by sample weights) of the squared distances between the given
            network and another over all rows: Euclidean between outputs, for classes half of the sum of |differences of
            probabilities|. Infinite for losses other than squared, logistic and cross-entropy.
        decided: (n,) for classes, whether all those networks give the row the same class; else None.
        gamma: γ.
        mass: Σ_j ‖u_j‖‖v_j‖ of the given network.
    """

    FIELDS = ("quantity", "objective", "gamma", "mass", "root_mean_square")

    quantity: str
    objective: float
    gap: float
    lower: FloatArray
    upper: FloatArray
    worst: FloatArray
    root_mean_square: float
    decided: BoolArray | None
    gamma: float
    mass: float

    def to_dict(self) -> dict[str, Any]:
        """All of it but the rows' own figures, of which it has the number, the worst, and how many are decided."""
        return {
            **super().to_dict(),
            "delta": finite(self.gap),
            "worst": finite(float(self.worst.max(initial=0.0))),
            "decided": None if self.decided is None else int(self.decided.sum()),
            "rows": len(self.worst),
        }

    def stray_mass(self, price_ratio: float) -> float:
        """Most of Σ_j ‖u_j‖‖v_j‖, in any of those networks, over neurons of a price of at most this share of γ; an
        InputError where the share is not between 0 and 1."""
        if not 0 <= price_ratio < 1:
            raise InputError(f"price_ratio must lie between 0 and 1, not {price_ratio:g}.")
        return self.gap / (self.gamma * (1.0 - price_ratio)) * (1.0 + ERROR)


@public()
def prediction_range(certificate: Certificate, report: Report, *, objective: float | None = None) -> PredictionRange:
    """Where the predictions of all networks lie that are as good as the certificate's, see the module's text.

    Args:
        certificate: about training.
        report: what the checker said of it; without a proof nothing is bounded.
        objective: networks of at most this objective; by default the one of the certificate's network. An optimal
            network is always among those of the default.

    Raises:
        InputError: a certificate about something else, or an objective below the proved bound.
    """
    statement = certificate.statement
    if not isinstance(statement, Training):
        raise InputError("Predictions are bounded by a certificate about training; this one is about something else.")
    proof: TrainingProof = certificate.proofs[0]
    bound = report.lower_bound if report.verdict is Verdict.PROVED else -math.inf
    most = report.objective if objective is None else float(objective)
    if not most >= bound:
        raise InputError(f"No network has an objective of {most:g}: {bound:g} is proved to be a lower bound.")
    gap = max(math.nextafter(most - bound, math.inf), 0.0)
    own = fitted(statement.X, np.zeros_like(statement.Y), proof.U, proof.V, proof.output)
    kind, omega = kind_named(statement.loss), statement.sample_weight[:, None]
    w, budget = proof.W / omega, np.nextafter(gap / omega, np.inf)
    decided = None
    if kind.targets in (ONE_HOT, SIGNS) and kind.name not in ("hinge", "squared-hinge"):
        quantity, p = PROBABILITY, (statement.Y > 0) - w
        ends = ends_within(divergence(p), logit(np.clip(p, 0.0, 1.0)), budget)
        lower, upper = probabilities_of(*ends)
        own = softmax_of(*own) if kind.couples else probabilities_of(*own)
        decided = same_winner(p, budget[:, 0]) if kind.couples else one_sign(*ends)
    elif kind.name == "poisson":
        quantity, q = MEAN, np.maximum(statement.Y - w, 0.0)
        size = np.abs(statement.Y) + np.abs(w)
        lower, upper = means_of(*ends_within(excess(q, size), np.log(q), budget))
        own = means_of(*own)
    else:
        # ℓ is the largest vr − ε/2 v² over l ≤ v ≤ h, with r = y − f and ε = 0 or 1.
        quantity, (low, high), epsilon = OUTPUT, kind.limits(statement.Y), kind.sharpness(w, statement.Y)
        lower = np.nextafter(statement.Y - _farthest(w, high, epsilon, budget), -np.inf)
        upper = np.nextafter(statement.Y + _farthest(-w, -low, epsilon, budget), np.inf)
        decided = one_sign(lower, upper) if kind.targets == SIGNS else None
    worst = np.maximum(upper - own[0], own[1] - lower).max(axis=1)
    # A free hidden bias, the last row, is in no norm.
    U = proof.U[:-1] if statement.hidden_bias == "free" else proof.U
    return PredictionRange(
        quantity=quantity,
        objective=most,
        gap=gap,
        lower=lower,
        upper=upper,
        worst=np.nextafter(worst, np.inf),
        root_mean_square=_root_mean_square(kind, statement, w, own, gap),
        decided=decided,
        gamma=statement.gamma,
        mass=float(np.linalg.norm(U, axis=0) @ np.linalg.norm(proof.V, axis=0)),
    )


def sentences(found: PredictionRange) -> tuple[str, ...]:
    """What a report says of it; nothing where nothing is bounded."""
    said, whose = [], "Every network of any width with an objective at most this one's"
    if found.decided is not None and (same := int(found.decided.sum())):
        rows = len(found.decided)
        said.append(f"{whose} gives the same class as this one to at least {same} of the {rows} training rows.")
    worst = float(found.worst.max())
    if math.isfinite(worst) and (found.quantity != PROBABILITY or worst < 0.99):
        what = {OUTPUT: "an output", PROBABILITY: "a probability", MEAN: "a mean"}[found.quantity]
        typical = f", and by {up(found.root_mean_square, 3)} in root mean square"
        said.append(
            f"{whose} differs from this one by at most {up(worst, 3)} in {what} of a training row"
            f"{typical if found.root_mean_square < worst else ''}."
        )
    if (stray := found.stray_mass(STRAY)) < found.mass:
        said.append(
            f"In all of them, neurons whose price is below {STRAY:.0%} of gamma have together at most "
            f"{share(stray / found.mass, at_least=False)} of the size Σ‖u‖‖v‖ of this one."
        )
    return tuple(said)


def _root_mean_square(
    kind: Kind, statement: Training, w: FloatArray, own: tuple[FloatArray, FloatArray], gap: float
) -> float:
    """Both networks' distances to the dual's own prediction, added up: B is at least ½‖·‖², or twice that of |·|/2²."""
    if kind.name == "squared":
        centre, share = statement.Y - w, 2.0
    elif kind.name in ("logistic", "cross-entropy"):
        centre, share = (statement.Y > 0) - w, 0.5
    else:
        return math.inf
    apart = np.maximum(np.abs(own[0] - centre), np.abs(own[1] - centre)) + 1e-15 * (np.abs(statement.Y) + np.abs(w))
    square = np.sum(apart**2, axis=1)
    if kind.name == "cross-entropy":
        square = (0.5 * apart.sum(axis=1)) ** 2
    mine, total = math.sqrt(float(statement.sample_weight @ square)), float(statement.sample_weight.sum())
    return (mine + math.sqrt(share * gap)) / math.sqrt(total) * (1.0 + ERROR * len(square))


def _farthest(w: FloatArray, high: FloatArray, epsilon: FloatArray, budget: FloatArray) -> FloatArray:
    """The largest r with B ≤ budget, rounded up: ``½(r − w)²`` until r = h where ε = 1, and slope h − w beyond."""
    step = np.sqrt(2.0 * np.where(epsilon > 0, budget, 0.0))
    curved = w + step
    room = np.where(np.isfinite(high), high - w - 4e-16 * (np.abs(high) + np.abs(w)), np.inf)
    straight = np.where(room > 0, budget / room + 0.5 * epsilon * (high + w), np.inf)
    # Each is at least the other one where it does not hold, but for losses without curvature.
    found = np.where((epsilon > 0) & (curved <= high), curved, straight)
    size = np.abs(w) + step + np.where(np.isfinite(high), np.abs(high), 0.0)
    return np.asarray(np.where(np.isfinite(found), found + inflate(1e-15 * (size + np.abs(found)), 1), np.inf))


def divergence(p: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """A lower bound of KL(p ‖ s) of two classes, for the logits f of s."""
    p = np.clip(p, 0.0, 1.0)
    entropy = -xlogy(p, p) - xlogy(1.0 - p, 1.0 - p)

    def bound(f: FloatArray) -> FloatArray:
        softplus = np.logaddexp(0.0, f)
        return np.asarray(softplus - p * f - entropy - ERROR * (1.0 + softplus + np.abs(f)))

    return bound


def excess(q: FloatArray, size: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """A lower bound of ``q log(q/m) − q + m``, m = e^f, where q may be off by some units of the size."""
    least = xlogy(q, q) - q

    def bound(f: FloatArray) -> FloatArray:
        mean = np.exp(f)
        return np.asarray(mean - q * f + least - ERROR * (mean + (1.0 + size) * (1.0 + np.abs(f)) + np.abs(least)))

    return bound


def ends_within(
    bound: Callable[[FloatArray], FloatArray], centre: FloatArray, budget: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """An interval outside of which a convex function, least at the centre, is larger than the budget."""
    found = []
    for far in (-REACH, REACH):
        outside, inside = np.full_like(centre, far), np.clip(centre, -REACH, REACH)
        bounded = bound(outside) > budget
        for _ in range(STEPS):
            middle = 0.5 * (inside + outside)
            beyond = bound(middle) > budget
            inside, outside = np.where(beyond, inside, middle), np.where(beyond, middle, outside)
        found.append(np.where(bounded, outside, math.copysign(math.inf, far)))
    return found[0], found[1]


def probabilities_of(lower: FloatArray, upper: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The logistic function, rounded down and up."""
    return np.clip(expit(lower) * (1.0 - ERROR), 0.0, 1.0), np.clip(expit(upper) * (1.0 + ERROR), 0.0, 1.0)


def means_of(lower: FloatArray, upper: FloatArray) -> tuple[FloatArray, FloatArray]:
    return np.exp(lower) * (1.0 - ERROR), np.exp(upper) * (1.0 + ERROR)


def softmax_of(lower: FloatArray, upper: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Enclosures of the probabilities of classes with logits in between."""
    found = []
    for own, others, error in ((lower, upper, -ERROR), (upper, lower, ERROR)):
        apart = others[:, None, :] - own[:, :, None]
        apart[:, np.eye(own.shape[1], dtype=bool)] = 0.0
        found.append(np.clip((1.0 + error) / np.exp(apart).sum(axis=2), 0.0, 1.0))
    return found[0], found[1]


def one_sign(lower: FloatArray, upper: FloatArray) -> BoolArray:
    return np.asarray(((lower > 0) | (upper < 0)).all(axis=1))


def same_winner(p: FloatArray, budget: FloatArray) -> BoolArray:
    """Whether all s with KL(p ‖ s) within the budget have the same largest entry.

    Of those with s_j ≥ s_k the nearest has both equal to ½(p_j + p_k), and all others as in p.
    """
    rows, k, p = np.arange(len(p)), p.argmax(axis=1), np.clip(p, 0.0, 1.0)
    best = p[rows, k][:, None]
    middle = 0.5 * (p + best)
    least = xlogy(p, p) + xlogy(best, best) - 2.0 * xlogy(middle, middle) - ERROR
    least[rows, k] = np.inf
    return np.asarray(least.min(axis=1) > budget)
