"""The checker's losses: exact domains, dual values rounded down, losses rounded up, no false claim of any."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates import Certificate, Verdict, check, fingerprint
from certificates.failure import Deadline, ProofFailure
from certificates.losses import loss_named, require_domain, require_targets, sums, twice_lost
from certificates.making.assemble import statement_of
from certificates.making.exact import exact
from certificates.training import dual_value, network_objective
from formulations import TrainingProgram
from formulations._validation import FloatArray
from formulations.loss import project as into_domain
from formulations.losses import kind_named, name_of
from tests.certificates.altering import replace
from tests.certificates.by_hand import (
    BIASES,
    LOSSES,
    certificate,
    every,
    forged,
    paired,
    problem,
    targets,
    weights,
)
from tests.certificates.truth import ERROR, true_dual_value, true_loss, true_objective
from tests.strategies import SEEDS, rng

EVERY = pytest.mark.parametrize("loss", LOSSES)


def inside(loss: str, Y: FloatArray, omega: FloatArray, random: np.random.Generator) -> FloatArray:
    """Some W whose rows lie in the domain, up to rounding, and some of them at its boundary."""
    scale = 10.0 ** random.uniform(-3, 1)
    W = omega[:, None] * into_domain(kind_named(loss), scale * random.standard_normal(Y.shape), Y)
    if loss == "cross-entropy":  # rows that sum to 0 exactly
        W = np.round(W * 2.0**20) / 2.0**20
        W[Y == 1] = 0.0
        W[Y == 1] = -W.sum(axis=1)
    return W


def is_inside(loss: str, W: FloatArray, Y: FloatArray, omega: FloatArray) -> bool:
    try:
        require_domain(loss_named(loss), W, Y, omega)
    except ProofFailure:
        return False
    return True


@settings(max_examples=80)
@given(SEEDS, st.sampled_from(LOSSES), st.sampled_from(BIASES[:2]), st.booleans())
def test_dual_values_are_rounded_down_and_domains_exact(seed: int, loss: str, output: str, weighted: bool) -> None:
    random = rng(seed)
    s = problem(loss, "none", output, weighted=weighted, seed=seed, c=3)
    W = inside(loss, s.Y, s.sample_weight, random)
    truth = true_dual_value(s, W)
    if truth < -(10**300):
        with pytest.raises(ProofFailure, match="domain"):
            dual_value(s, W)
        return
    value, size = Fraction(dual_value(s, W)), 1 + sum(abs(Fraction(x)) for x in W.ravel().tolist())
    assert value <= truth + ERROR
    assert truth - value <= size * Fraction(1, 10**12)
    assert dual_value(s, np.zeros_like(W)) == 0.0


@settings(max_examples=80)
@given(SEEDS, st.sampled_from(LOSSES), st.sampled_from([0.0, 1e-9, 0.5]))
def test_losses_over_intervals_are_rounded_up(seed: int, loss: str, width: float) -> None:
    random = rng(seed)
    Y = targets(loss, random, 4, 3)
    f = 10.0 ** random.uniform(-2, 1) * random.standard_normal(Y.shape)
    known = loss_named(loss)
    centre = Y if known.centred else np.zeros_like(Y)
    lower, upper = np.nextafter(f - centre - width, -np.inf), np.nextafter(f - centre + width, np.inf)
    left, right = twice_lost(known, lower, upper, Y)
    bound = sum(Fraction(a) * Fraction(b) for a, b in zip(left.ravel().tolist(), right.ravel().tolist(), strict=True))

    def truth(points: FloatArray) -> Fraction:
        pairs = zip(points.tolist(), Y.tolist(), strict=True)
        return sum(true_loss(loss, [Fraction(x) for x in row], [Fraction(x) for x in y]) for row, y in pairs)

    for share in (-1.0, -0.3, 0.0, 0.7, 1.0):
        signs = random.choice([-1.0, 1.0], Y.shape) if share else 0.0
        assert truth(f + share * width * signs) <= bound / 2 + ERROR
    if width == 0:
        assert bound / 2 - truth(f) <= Fraction(1, 10**13) * (1 + truth(f)) * (1 + int(np.abs(f).max()))


def test_dual_values_that_nearly_cancel_are_rounded_down_too() -> None:
    """``wy − w²/2ω`` where both terms are nearly equal: quotients rounded to nearest would come out above."""
    for seed in range(30):
        s = problem("squared", "none", "none", weighted=True, seed=seed)
        W = rng(seed).standard_normal(s.Y.shape)
        near = replace(s, Y=W / s.sample_weight[:, None] / 2)
        assert Fraction(dual_value(near, W)) <= true_dual_value(near, W)


def test_the_straight_part_of_a_loss_is_rounded_up() -> None:
    r = rng(0).uniform(1.0, 5.0, (50, 1))
    left, right = (part.ravel().tolist() for part in twice_lost(loss_named("huber:0.3"), -r, -r, np.zeros_like(r)))
    for a, b, f in zip(left, right, r.ravel().tolist(), strict=True):
        assert Fraction(a) * Fraction(b) >= 2 * true_loss("huber:0.3", [Fraction(-f)], [Fraction(0)])


@EVERY
def test_no_dual_value_exceeds_an_objective(loss: str) -> None:
    """Weak duality of the table: ``Σ ω ℓ(f) ≥ Σ ω D(W/ω) − ⟨W, f⟩`` for random f, in exact arithmetic."""
    random = rng(3)
    s = problem(loss, "none", "none", weighted=True, c=3)
    for _ in range(30):
        W = paired(s.Y, random, 2.0 ** -int(random.integers(4, 9)))
        f = random.standard_normal(s.Y.shape) * 3.0
        rows = zip(f.tolist(), s.Y.tolist(), s.sample_weight.tolist(), strict=True)
        lost = sum(Fraction(w) * true_loss(loss, [*map(Fraction, row)], [*map(Fraction, y)]) for row, y, w in rows)
        inner = sum(Fraction(a) * Fraction(b) for a, b in zip(W.ravel().tolist(), f.ravel().tolist(), strict=True))
        assert lost >= Fraction(dual_value(s, W)) - inner - ERROR


def boundary(loss: str, Y: FloatArray, omega: FloatArray) -> FloatArray:
    """W at the largest limits of the domain, or at the least ones where there are none above, rounded to nearest."""
    lower, upper = kind_named(loss).limits(Y)
    return np.asarray(omega[:, None] * np.where(np.isfinite(upper), upper, lower))


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss not in ("squared", "cross-entropy", "squared-hinge")])
def test_the_boundary_of_a_domain_is_decided_exactly(loss: str) -> None:
    random = rng(1)
    Y, omega = targets(loss, random, 40, 2), weights(random, 40, weighted=True)
    nearest = boundary(loss, Y, omega)
    outside = 0
    for i, k in np.ndindex(*Y.shape):
        limit = Fraction(omega[i]) * Fraction(
            {"huber:0.75": 0.75, "absolute": 1.0, "quantile:0.3": 0.3, "poisson": Y[i, k]}.get(loss, max(Y[i, k], 0.0))
        )
        around = nearest[i, k] + np.spacing(nearest[i, k]) * np.arange(-2, 3)
        for w in around.tolist():
            W = np.zeros_like(Y)
            W[i, k] = w
            assert is_inside(loss, W, Y, omega) == (Fraction(w) <= limit)
            outside += Fraction(w) > limit
    assert outside > 20


def test_the_lower_limit_of_a_quantile_is_no_float() -> None:
    """τ − 1 is rounded in float64; the limit of w is the exact one."""
    tau = 0.1
    limit = Fraction(tau) - 1
    above, below = np.nextafter(float(limit), 0.0), float(limit)
    assert Fraction(below) < limit < Fraction(above)
    Y, one = np.zeros((1, 1)), np.ones(1)
    assert is_inside("quantile:0.1", np.array([[above]]), Y, one)
    assert not is_inside("quantile:0.1", np.array([[below]]), Y, one)


def test_rows_of_cross_entropy_and_columns_of_free_biases_sum_to_zero_exactly() -> None:
    made = certificate(problem("cross-entropy", "free", "free", c=3))
    assert check(made).verdict is Verdict.PROVED
    for k in range(3):
        for up in (np.inf, -np.inf):
            W = made.W.copy()
            i = int(np.flatnonzero(W[:, k])[0])
            W[i, k] = np.nextafter(W[i, k], up)
            assert "row of W" in check(replace(made, W=W)).reason
    for output, hidden in (("free", "none"), ("none", "free"), ("penalised", "free")):
        made = certificate(problem("squared", hidden, output))
        W = made.W.copy()
        W[0, 0] = np.nextafter(W[0, 0], np.inf)
        report = check(replace(made, W=W))
        assert report.verdict is Verdict.UNKNOWN
        assert "column of W" in report.reason
    tiny = np.array([[1e100, -1e100], [5e-324, 0.0], [0.1, 0.2]])
    assert not (sums(tiny)[1:] == 0).any()
    assert sums(tiny)[0] == 0.0


@EVERY
def test_true_certificates_are_proved_in_every_arithmetic(loss: str) -> None:
    for made, arithmetic in product((c for c in every() if c.loss == loss), ("exact", "ball", "float")):
        report = check(made, arithmetic=arithmetic)
        assert report.verdict is Verdict.PROVED
        assert Fraction(report.lower_bound) <= true_dual_value(made.statement, made.W) + ERROR
        objective = true_objective(made.statement, made.U, made.V, made.output)
        assert objective - ERROR <= Fraction(report.objective) <= objective * (1 + Fraction(1, 10**12))


def test_proofs_by_subdivision_too() -> None:
    for made in every(subdivided=True):
        assert check(made).verdict is Verdict.PROVED
        assert made.proof.sigma.size == (made.hidden_bias == "free")


@pytest.mark.parametrize("number", range(0, 54, 5))
def test_what_is_changed_is_not_proved(number: int) -> None:
    """Each with the condition that fails, though the fingerprint follows."""
    made = every()[number]
    other = next(loss for loss in LOSSES if loss_named(loss).targets != loss_named(made.loss).targets)
    for changes, word in (
        ({"loss": "mean"}, "not known"),
        ({"loss": "quantile:1.5"}, "out of range"),
        ({"loss": "huber:0"}, "out of range"),
        ({"hidden_bias": "some"}, "hidden bias is 'some'"),
        ({"output_bias": "some"}, "output bias is 'some'"),
        ({"sample_weight": np.where(np.arange(6) == 3, 0.0, made.sample_weight)}, "sample weight"),
        ({"sample_weight": -made.sample_weight}, "sample weight"),
        ({"sample_weight": np.full(6, np.nan)}, "finite"),
        ({"sample_weight": np.ones(5)}, "shape"),
        ({"output": np.zeros(3)}, "shape"),
        ({"ball": np.zeros(9)}, "shape"),
    ):
        report = check(forged(made, **changes))
        assert report.verdict is Verdict.UNKNOWN
        assert word in report.reason
    assert "fingerprint" in check(replace(made, sample_weight=2.0 * made.sample_weight)).reason
    renamed = replace(made, loss=other)
    report = check(renamed)
    if made.loss == "squared-hinge":
        # Where targets are −1 and 1, this W has the same value for the squared loss.
        assert (other, report.verdict) == ("squared", Verdict.PROVED)
        assert Fraction(report.lower_bound) <= true_dual_value(renamed.statement, renamed.W) + ERROR
        own = true_objective(renamed.statement, renamed.U, renamed.V, renamed.output)
        assert Fraction(report.lower_bound) <= own - ERROR <= Fraction(report.objective)
    else:
        assert report.verdict is Verdict.UNKNOWN
        assert "outside what the loss takes" in report.reason or "exceeds what is proved" in report.reason


def test_a_network_has_an_output_bias_only_where_the_statement_has_one() -> None:
    """The bias fits the targets better, for nothing."""
    made = certificate(problem("squared", "none", "none"))
    output = (made.Y - np.maximum(made.X @ made.U, 0.0) @ made.V.T).mean(axis=0)
    for claimed in (made.objective, 1e9):
        report = check(replace(made, output=output, objective=claimed))
        assert report.verdict is Verdict.UNKNOWN
        assert "output bias" in report.reason


@EVERY
def test_a_bound_above_the_network_is_refuted(loss: str) -> None:
    made = certificate(problem(loss, "free", "free", weighted=True))
    report = check(replace(made, lower_bound=made.objective * (1 + 1e-9)))
    assert report.verdict is Verdict.REFUTED
    idle = np.zeros((3, 0)), np.zeros((2, 0)), np.zeros(2)
    zero = network_objective(made.statement, *idle)
    worse = replace(made, V=1e6 * made.V, objective=1e300, lower_bound=zero * (1 + 1e-9))
    assert "zero network" in check(worse).reason
    assert check(worse).verdict is Verdict.REFUTED


def test_targets_outside_what_a_loss_takes() -> None:
    for loss, bad in (
        ("logistic", [[1.0, 0.5]]),
        ("hinge", [[0.0, 1.0]]),
        ("squared-hinge", [[2.0, 1.0]]),
        ("cross-entropy", [[1.0, 1.0]]),
        ("cross-entropy", [[0.0, 0.0]]),
        ("cross-entropy", [[0.5, 0.5]]),
        ("poisson", [[-1e-300, 1.0]]),
    ):
        with pytest.raises(ProofFailure, match="row 1 of Y"):
            require_targets(loss_named(loss), np.array(bad))
        made = certificate(problem(loss, "none", "none"))
        Y = made.Y.copy()
        Y[3] = bad[0]
        assert "row 4 of Y" in check(forged(made, Y=Y)).reason


def test_a_free_hidden_bias_needs_its_ball() -> None:
    made = certificate(problem("logistic", "free", "free"))
    centre, square = made.ball[:-1], Fraction(0)
    for row in made.X[:, :-1].tolist():
        square = max(square, sum((Fraction(x) - Fraction(c)) ** 2 for x, c in zip(row, centre.tolist(), strict=True)))
    enough = np.nextafter(float(square), np.inf) if Fraction(float(square)) < square else float(square)
    sigma = 0.9 * made.proof.sigma
    fits = replace(made, ball=np.append(centre, enough), proof=replace(made.proof, sigma=sigma))
    assert check(fits).verdict is Verdict.PROVED
    small = replace(fits, ball=np.append(centre, np.nextafter(enough, 0.0)))
    assert "outside the ball" in check(small).reason
    for bad, word in ((-sigma, "negative"), (np.nan * sigma, "finite"), (np.zeros((1, 0)), "shape")):
        assert word in check(replace(made, proof=replace(made.proof, sigma=bad))).reason
    assert "semidefinite" in check(replace(made, proof=replace(made.proof, sigma=1e3 * sigma))).reason
    ones = made.X.copy()
    ones[2, -1] = 2.0
    assert "not all 1" in check(forged(made, X=ones)).reason


def test_a_free_bias_is_not_proved_without_the_region() -> None:
    """σ = 0 leaves the bias without a cost, and no W but 0 is feasible then."""
    made = certificate(problem("squared", "free", "free"))
    assert check(replace(made, proof=replace(made.proof, sigma=np.zeros((1, 1))))).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("seed", range(4))
def test_prices_of_a_free_bias_hold_outside_the_region(seed: int) -> None:
    """``‖Wᵀ(Xu + b)₊‖ ≤ γ‖u‖`` for immense biases as well, since the columns of W sum to 0."""
    made = certificate(problem("squared", "free", "free", seed=seed), seed=seed)
    random = rng(seed)
    u = random.standard_normal((2, 4000)) * 10.0 ** random.uniform(-3, 1, 4000)
    b = random.standard_normal(4000) * 10.0 ** random.uniform(-3, 4, 4000)
    price = np.linalg.norm(made.W.T @ np.maximum(made.X @ np.vstack([u, b]), 0.0), axis=0)
    # Rounding of b, of which W takes nothing.
    assert (price <= made.gamma * np.linalg.norm(u, axis=0) + 1e-13 * np.abs(b)).all()


def test_weights_join_the_fingerprint_where_they_count() -> None:
    X, Y = rng(0).standard_normal((4, 2)), rng(1).standard_normal((4, 1))
    plain, ones = fingerprint(X, Y), np.ones(4)
    assert fingerprint(X, Y, ones) == plain
    assert len({plain, fingerprint(X, Y, 2.0 * ones), fingerprint(X, Y, 3.0 * ones)}) == 3


def test_names_are_those_of_the_solvers() -> None:
    for name in LOSSES:
        assert name_of(kind_named(name)) == name
        loss_named(name)
    for name in ("huber:1e-05", "huber:1.5e+300", "quantile:0.1", "huber:100.0"):
        assert name_of(kind_named(name)) == name
        loss_named(name)
    for name in ("", "huber", "quantile", "huber:-1.0", "huber:nan", "huber:inf", "huber:1e400", "quantile:1.0",
                 "quantile:0.0", "huber:１", "squared ", "Squared", "huber:1_0", "huber:1.0\n"):  # fmt: skip
        with pytest.raises(ProofFailure):
            loss_named(name)


@settings(max_examples=30)
@given(SEEDS, st.sampled_from(LOSSES), st.sampled_from([*product(BIASES, BIASES)]), st.booleans())
def test_no_bound_exceeds_the_objective_of_any_network(
    seed: int, loss: str, biases: tuple[str, str], weighted: bool
) -> None:
    made = certificate(problem(loss, *biases, weighted=weighted, seed=seed), seed=seed)
    random, (_, d, c) = rng(seed), made.statement.shape
    for size in 10.0 ** random.uniform(-3, 1, 20):
        U, V = size * random.standard_normal((d, 3)), size * random.standard_normal((c, 3))
        U[-1] *= 10.0 ** random.uniform(-2, 3) if biases[0] == "free" else 1.0
        a = np.zeros(c) if biases[1] == "none" else size * random.standard_normal(c)
        assert made.lower_bound <= network_objective(made.statement, U, V, a)


@EVERY
def test_what_the_advocate_writes_down_is_in_the_domain_exactly(loss: str) -> None:
    """W at and beyond the limits, of which most are no products of float64 numbers."""
    random, Y = rng(8), targets(loss, rng(8), 30, 3)
    for output, scale in product(("none", "penalised", "free"), (1e-9, 0.3, 1.0, 30.0)):
        omega = weights(random, 30, weighted=True)
        program = TrainingProgram(rng(1).standard_normal((30, 2)), Y, 1.0, loss=loss, sample_weight=omega,
                                  output_bias=output)  # fmt: skip
        W = program.loss.project(scale * random.standard_normal(Y.shape))
        statement = statement_of(program)
        written = exact(program, W)
        assert dual_value(statement, written) == pytest.approx(program.loss.dual_value(W), rel=1e-7, abs=1e-9)


def split_once(made: Certificate) -> Certificate:
    """The proof on both sides of the first generator."""
    p = made.proof
    proof = replace(
        p,
        split=np.array([0, -1, -1]),
        children=np.array([[1, 2], [-1, -1], [-1, -1]]),
        leaf=np.array([-1, 0, 1]),
        pair_offset=np.zeros(3, dtype=np.int64),
        complementarity=np.repeat(p.complementarity, 2, axis=0),
        sigma=np.repeat(p.sigma, 2, axis=0),
    )
    return replace(made, proof=proof)


@pytest.mark.parametrize("arithmetic", ["exact", "ball", "float"])
def test_every_leaf_has_its_own_multiplier_of_the_region(arithmetic: str) -> None:
    made = split_once(certificate(problem("poisson", "free", "free")))
    assert check(made, arithmetic=arithmetic).verdict is Verdict.PROVED
    for factor, word in ((-1.0, "negative"), (0.0, "leaf 1"), (100.0, "leaf 1")):
        sigma = made.proof.sigma * np.array([[1.0], [factor]])
        report = check(replace(made, proof=replace(made.proof, sigma=sigma)), arithmetic=arithmetic)
        assert report.verdict is Verdict.UNKNOWN
        assert word in report.reason


@EVERY
def test_values_and_objectives_look_at_the_clock(loss: str) -> None:
    made = certificate(problem(loss, "free", "free"))
    for value in (dual_value, network_objective):
        given = (made.W,) if value is dual_value else (made.U, made.V, made.output)
        value(made.statement, *given, Deadline.after(100.0))
        with pytest.raises(ProofFailure, match="time limit"):
            value(made.statement, *given, Deadline(0.0))
