"""Float32 semantics: E covers every evaluation, and no verdict is wrong where margins are as small as rounding."""

import dataclasses
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates import Certificate, Verdict, check, read_certificate, write_certificate
from certificates.float32 import output_errors
from certificates.robustness import preactivation_bounds
from certnet.io import read_network
from certnet.io.float32 import require_plain
from certnet.jobs.audit import audit
from certnet.jobs.radius import certified_radius
from certnet.jobs.verify import verify
from certnet.search.counterexample import exact_outputs
from formulations import InputError
from formulations.network import ReluNetwork
from formulations.properties import keeps_class
from formulations.robustness import InputRegion, UnsafeCase
from tests.certificates.altering import replace
from tests.verification.problems import SEEDS
from tests.verification.test_minimal_robustness_checker import minimal  # noqa: F401 - a fixture

F = np.float32
LEAST = F(2.0**-126)
Array = np.ndarray


def single(array: Array) -> Array:
    """The nearest float32 numbers."""
    return np.asarray(array, dtype=F).astype(np.float64)


def evaluated(network: ReluNetwork, x: Array, rng: np.random.Generator) -> Array:
    """Some evaluation in float32: with or without fused products, wide sums and flushing, in some order."""
    fused, flushed, wide = rng.random(3) < 0.5

    def kept(value: float | np.floating) -> F:
        rounded = F(value)
        return F(0) if flushed and abs(rounded) < LEAST else rounded

    def total(row: Array, values: Array, bias: float) -> F:
        pairs = [(kept(w), kept(v)) for w, v in zip(row.tolist(), values.tolist(), strict=True)]
        if wide:
            return kept(sum(float(w) * float(v) for w, v in pairs) + bias)
        if fused:
            found = kept(bias)
            for i in rng.permutation(len(pairs)):
                found = kept(float(pairs[i][0]) * float(pairs[i][1]) + float(found))
            return found
        terms = [kept(float(w) * float(v)) for w, v in pairs] + [kept(bias)]
        while len(terms) > 1:
            # Any two of them, or the first two: trees and chains.
            i = int(rng.integers(len(terms) - 1)) if chained else 0
            first = terms.pop(i)
            terms[i] = kept(float(first) + float(terms[i]))
            rng.shuffle(terms) if chained else None
        return terms[0]

    chained = rng.random() < 0.5
    hidden = np.array([max(total(u, x, b), F(0)) for u, b in zip(network.hidden, network.hidden_bias, strict=True)])
    return np.array(
        [total(v, hidden, b) for v, b in zip(network.output, network.output_bias, strict=True)], dtype=float
    )


def errors_on(network: ReluNetwork, region: InputRegion) -> Array:
    return output_errors(network, region, preactivation_bounds(network, region)[1])


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.sampled_from([-148, -140, -125, -70, 0, 50]), st.booleans())
def test_no_evaluation_is_further_away_than_stated(seed: int, exponent: int, cancelling: bool) -> None:
    """Also where weights, inputs and sums are subnormal, and where large terms cancel."""
    rng = np.random.default_rng(seed)
    d, m, c = rng.integers(1, 7, 3)
    scale = 2.0 ** rng.integers(min(exponent, 0), max(exponent, 0) + 1, (4,))
    arrays = rng.standard_normal((m, d)), rng.standard_normal(m), rng.standard_normal((c, m)), rng.standard_normal(c)
    hidden, bias, output, constant = (single(array * size) for array, size in zip(arrays, scale, strict=True))
    x = single(rng.standard_normal(d) * 2.0 ** int(rng.choice([-140, -40, 0, 20])))
    if rng.random() < 0.5:
        bias, constant = 0.0 * bias, 0.0 * constant
    if cancelling:
        bias = single(-hidden @ x * (1 + 1e-7 * rng.standard_normal(m)))
    network = ReluNetwork(hidden, bias, output, constant)
    region = InputRegion(x - np.abs(x) * rng.random(d), x + np.abs(x) * rng.random(d))
    errors, exact = errors_on(network, region), exact_outputs(network, x)
    assert (errors_on(network, InputRegion(x, x)) <= errors * (1 + 1e-12)).all()
    for _ in range(8):
        for y, truth, error in zip(evaluated(network, x, rng).tolist(), exact, errors.tolist(), strict=True):
            assert abs(Fraction(y) - truth) <= Fraction(error)


def test_the_bound_is_nearly_attained() -> None:
    """1 and many terms that are lost one after the other, each a little less than half a unit in the last place."""
    n = 200
    small = float(np.nextafter(F(2.0**-24), F(0)))
    network = ReluNetwork(np.array([[1.0] + [small] * n]), np.zeros(1), np.ones((1, 1)), np.zeros(1))
    total = F(1)
    for _ in range(n):
        total = F(total + F(small))
    ones = np.ones(n + 1)
    error = errors_on(network, InputRegion(ones, ones))[0]
    assert total == 1
    assert 0.9 * error < n * small <= error


def test_what_float32_does_not_evaluate_is_refused() -> None:
    region, H = InputRegion(np.zeros(1), np.ones(1)), np.ones((1, 1))
    for weight, words in ((0.1, "no float32 number"), (1e300, "no float32 number"), (float(F(1e38)), "might overflow")):
        network = ReluNetwork(np.array([[weight], [-1.0]]), np.zeros(2), np.array([[2.0, 8.0]]), np.zeros(1))
        with pytest.raises(InputError, match=words):
            verify(network, [UnsafeCase(region, H, np.ones(1))], semantics="float32")
        assert verify(network, [UnsafeCase(region, H, np.ones(1))]).verdict is Verdict.PROVED
    with pytest.raises(InputError, match="real or float32"):
        verify(network, [UnsafeCase(region, H, np.ones(1))], semantics="float16")


def line(hidden: list[float], bias: list[float], output: list[float], constant: float) -> ReluNetwork:
    """A network of one input and one output."""
    return ReluNetwork(np.array(hidden)[:, None], np.array(bias), np.array([output]), np.array([constant]))


def verdicts(network: ReluNetwork, lower: float, upper: float, h: float) -> tuple[Verdict, Verdict]:
    """Of f + h ≤ 0 being unsafe on an interval, of real numbers and in float32."""
    case = UnsafeCase(InputRegion(np.array([lower]), np.array([upper])), np.ones((1, 1)), np.array([h]))
    real, rounded = (verify(network, [case], semantics=how, time_limit=10.0) for how in ("real", "float32"))
    if rounded.counterexample is not None:
        x, rng = rounded.counterexample.x, np.random.default_rng(0)
        assert (single(x) == x).all()
        assert lower <= x[0] <= upper
        assert all(evaluated(network, x, rng)[0] + h <= 0 for _ in range(16))
    return real.verdict, rounded.verdict


def test_a_proof_of_real_numbers_that_float32_breaks_is_none() -> None:
    """(x + 2^24)₊ − 2^24 is x, but 0 in float32."""
    network = line([1.0], [2.0**24], [1.0], -(2.0**24))
    assert evaluated(network, np.array([0.75]), np.random.default_rng(2))[0] == 0
    assert verdicts(network, 0.625, 0.875, -0.5) == (Verdict.PROVED, Verdict.UNKNOWN)
    assert verdicts(network, 0.625, 0.875, -2.0) == (Verdict.REFUTED, Verdict.UNKNOWN)
    assert verdicts(network, 0.625, 0.875, 8.0) == (Verdict.PROVED, Verdict.PROVED)
    assert verdicts(network, 0.625, 0.875, -8.0) == (Verdict.REFUTED, Verdict.REFUTED)


@pytest.mark.parametrize("width", [1e-3, 1e-5, 2.0**-22, 2.0**-25])
@pytest.mark.parametrize("depth", [-1.0, -1e-4, 1e-4])
def test_planted_counterexamples(width: float, depth: float) -> None:
    """f is 1 but for a dent of this width around a number between two of float32, where it falls to ``depth``."""
    centre, size = 0.75 + 2.0**-25, float(F(2.0 / width))
    slope = (1.0 - depth) * 2.0
    network = line([size] * 3, single(np.array([(width / 2 - centre), -centre, -(width / 2 + centre)]) * size).tolist(),
                   single(np.array([-slope, 2 * slope, -slope]) / 2).tolist(), 1.0)  # fmt: skip
    real, rounded = verdicts(network, 0.5, 1.0, 0.0)
    values = np.array([0.75 + k * 2.0**-24 for k in range(-4, 5)])
    least = min(exact_outputs(network, np.array([x]))[0] for x in values.tolist())
    assert rounded is not Verdict.REFUTED or least < 0
    assert rounded is not Verdict.PROVED or (real is Verdict.PROVED and least > 0)
    assert rounded is not Verdict.PROVED or depth > 0
    if width == 1e-3 and abs(depth) == 1.0:
        assert rounded is Verdict.REFUTED


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.sampled_from([-1e4, -40.0, -1.0, 0.0, 1.0, 40.0, 1e4]))
def test_margins_of_a_few_units_in_the_last_place(seed: int, ulps: float) -> None:
    """Every float32 number of a short interval is evaluated in many ways, and held against the verdict."""
    rng = np.random.default_rng(seed)
    m = int(rng.integers(1, 6))
    network = line(*(single(rng.standard_normal(m)).tolist() for _ in range(3)), float(F(rng.standard_normal())))
    start = F(rng.standard_normal())
    inputs = np.sort(start + np.arange(40) * np.spacing(start)).astype(np.float64)
    exact = [exact_outputs(network, np.array([x]))[0] for x in inputs.tolist()]
    h = float(-min(exact)) + ulps * 2.0**-24
    _, verdict = verdicts(network, inputs[0], inputs[-1], h)
    seen = [Fraction(evaluated(network, inputs[[i]], rng)[0]) + Fraction(h) for i in range(40) for _ in range(3)]
    assert verdict is not Verdict.PROVED or min(seen) > 0
    assert verdict is Verdict.PROVED or ulps < 1e4
    assert verdict is Verdict.REFUTED or ulps > -1e4


@cache
def proved(norm: str = "linf") -> Certificate:
    """A certificate in float32 of a small network with several cases."""
    rng = np.random.default_rng(3)
    sizes = (5, 3), (5,), (3, 5), (3,)
    network = ReluNetwork(*(single(rng.standard_normal(size)) for size in sizes))
    x = single(rng.random(3))
    region = (InputRegion.linf if norm == "linf" else InputRegion.l2)(x, 0.01)
    result = verify(network, keeps_class(network, region, int(network(x[None]).argmax())), semantics="float32")
    assert result.certificate is not None
    return result.certificate


def with_rounding(base: Certificate, change) -> Certificate:
    return replace(base, proofs=tuple(replace(proof, rounding=change(proof.rounding)) for proof in base.proofs))


CHANGES = {
    "a smaller E": lambda c: with_rounding(c, lambda E: E * (1 - 1e-9)),
    "no E": lambda c: with_rounding(c, lambda E: None),
    "an E that is no number": lambda c: with_rounding(c, lambda E: np.nan * E),
    "a negative E": lambda c: with_rounding(c, np.negative),
    "an E of another shape": lambda c: with_rounding(c, lambda E: np.tile(E, 2)),
    "an E that takes all": lambda c: with_rounding(c, lambda E: E + 1e3),
    "an E that makes h infinite": lambda c: replace(
        with_rounding(c, lambda E: E + 1e308), cases=tuple(replace(case, h=case.h - 1.7e308) for case in c.cases)
    ),
    "other semantics": lambda c: replace(c, semantics="float16"),
    "a wider box": lambda c: replace(
        c, cases=tuple(replace(case, region=InputRegion(case.region.lower - 1, case.region.upper)) for case in c.cases)
    ),
    "a weight of float64": lambda c: replace(c, network=replace(c.network, output=c.network.output * (1 + 2.0**-40))),
    "a bias that cancels": lambda c: replace(
        c, network=replace(c.network, output_bias=c.network.output_bias + 2.0**40)
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_certificate_proves_nothing(change: str) -> None:
    base = proved()
    assert check(base).verdict is Verdict.PROVED
    report = check(CHANGES[change](base))
    assert report.verdict is Verdict.UNKNOWN
    assert report.margin == -np.inf


def test_real_numbers_need_no_rounding_and_float32_does() -> None:
    base = proved()
    assert check(replace(base, semantics="real")).rounding == 0
    plain = verify(base.network, base.cases).certificate
    assert check(plain).margin > check(base).margin > 0
    assert check(replace(plain, semantics="float32")).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_both_checkers_read_it_and_agree(tmp_path: Path, minimal, norm: str) -> None:  # noqa: F811
    path, base = tmp_path / "a.cert", proved(norm)
    write_certificate(path, base)
    again = read_certificate(path)
    assert again.semantics == "float32"
    assert check(again).verdict is Verdict.PROVED
    verdict, reason = minimal.check_file(path)
    assert verdict == "PROVED"
    assert "float32" in reason
    write_certificate(path, with_rounding(base, lambda E: E * (1 - 1e-6)))
    assert minimal.check_file(path)[0] == check(read_certificate(path)).verdict == Verdict.UNKNOWN


def test_a_radius_in_float32_lies_below_one_of_real_numbers() -> None:
    network = proved().network
    x = single(np.random.default_rng(3).random(3))
    label = int(network(x[None]).argmax())
    real, rounded = (
        certified_radius(network, x, label, norm="linf", largest=4.0, semantics=how) for how in ("real", "float32")
    )
    assert 0 < rounded.certified <= real.certified * (1 + 1e-3)
    assert rounded.counterexample is not None
    assert (single(rounded.counterexample.x) == rounded.counterexample.x).all()


def test_an_audit_in_float32_and_what_an_earlier_run_claims_of_it() -> None:
    """Its certificates and counterexamples are of float32, and are confirmed as such."""
    network, rng = proved().network, np.random.default_rng(4)
    X = rng.random((3, 3))
    labels = network(X).argmax(axis=1)
    labels[2] = (labels[2] + 1) % 3
    kept: dict = {}
    how = {"norm": "linf", "radii": [1e-3, 0.5], "certified_radii": True, "semantics": "float32"}
    found = audit(network, X, labels, **how, finished=lambda one, proofs: kept.update({one.row: (one, proofs)}))
    real = audit(network, X, labels, **{**how, "semantics": "real"})
    for one, other, x in zip(found.inputs, real.inputs, X, strict=True):
        assert one.certified_radius <= other.attacked_radius * (1 + 1e-3)
        witness = np.array(one.counterexample)
        assert (single(witness) == witness).all()
        assert np.abs(witness - x).max() <= one.attacked_radius
        for certificate in kept[one.row][1].values():
            assert certificate.semantics == "float32"
            assert check(certificate).verdict is Verdict.PROVED
    assert found.inputs[2].certified_radius == 0
    claims = {row: dataclasses.replace(one, resumed=True) for row, (one, _) in kept.items()}
    again = audit(network, X, labels, **how, known=claims, recall=lambda one: proofs_of(*kept[one.row]))
    assert [one.status for one in again.inputs] == [one.status for one in found.inputs]
    assert all(one.resumed for one in again.inputs)
    rounded = replace(network, hidden=network.hidden * (1 + 2.0**-40))
    with pytest.raises(InputError, match="no float32 number"):
        audit(rounded, X, labels, **how)


def proofs_of(entry, certificates):
    certificate = certificates.get(entry.certified_radius)
    return None if certificate is None else certificate.proofs


GEMM, SPLIT = ["Gemm", "Relu", "Gemm"], ["Flatten", "MatMul", "Add", "Relu", "MatMul", "Add", "Identity"]


def exported(folder: Path, nodes: list[str], kind: type = F, shift: float = 0.0, factor: float = 1.0) -> Path:
    """The network of ``proved`` as a graph of these nodes."""
    onnx = pytest.importorskip("onnx")
    make, to_tensor, network = onnx.helper, onnx.numpy_helper.from_array, proved().network
    layers = [(network.hidden.T, network.hidden_bias), (network.output.T, network.output_bias)]
    constants, made, at = [], [], "x"
    for number, name in enumerate(nodes):
        weights, bias = layers[-1] if "Relu" in nodes[:number] else layers[0]
        given = {"Gemm": [weights, bias], "MatMul": [weights], "Add": [bias], "Sub": [np.array([shift])]}.get(name, [])
        names = [f"c{number}_{i}" for i in range(len(given))]
        constants += [to_tensor(array.astype(kind), own) for own, array in zip(names, given, strict=True)]
        attributes = {"alpha": factor} if name == "Gemm" else {}
        made.append(make.make_node(name, [at, *names], [f"v{number}"], **attributes))
        at = f"v{number}"
    element = onnx.TensorProto.FLOAT if kind is F else onnx.TensorProto.DOUBLE
    ends = [make.make_tensor_value_info(name, element, [1, size]) for name, size in (("x", 3), (at, 3))]
    model = make.make_model(make.make_graph(made, "g", ends[:1], ends[1:], constants))
    model.opset_import[0].version, model.ir_version = 17, 8
    onnx.save(model, folder / "net.onnx")
    return folder / "net.onnx"


@pytest.mark.parametrize(
    ("how", "accepted"),
    [
        ({"nodes": GEMM}, True),
        ({"nodes": SPLIT}, True),
        ({"nodes": ["Sub", *GEMM]}, True),
        ({"nodes": ["Sub", *GEMM], "shift": 0.25}, False),
        ({"nodes": GEMM, "factor": 0.5}, False),
        ({"nodes": GEMM, "kind": np.float64}, False),
    ],
)
def test_programs_that_round_elsewhere_are_refused(tmp_path: Path, how: dict, accepted: bool) -> None:
    path = exported(tmp_path, **how)
    read = read_network(path)
    if accepted:
        require_plain(path, read)
    else:
        with pytest.raises(InputError, match="float32 is guaranteed"):
            require_plain(path, read)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_no_input_in_onnxruntime_violates_what_is_proved(seed: int) -> None:
    """The constant is such that the margin exceeds E by next to nothing; inputs near the least margin, and corners."""
    runtime = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    rng, d, m, n = np.random.default_rng(seed), 12, 40, 250_000
    make, tensor = onnx.helper, onnx.numpy_helper.from_array
    sizes = (m, d), (m,), (1, m), (1,)
    network = ReluNetwork(*(single(rng.standard_normal(size) / 4) for size in sizes))
    region = InputRegion.linf(single(rng.random(d)), 0.05)
    low, high = -50.0, 50.0
    for _ in range(30):
        middle = 0.5 * (low + high)
        case = UnsafeCase(region, np.ones((1, 1)), np.array([middle]))
        result = verify(network, [case], semantics="float32", time_limit=10.0)
        low, high = (low, middle) if result.verdict is Verdict.PROVED else (middle, high)
        near = result.counterexample.x if result.counterexample is not None and low == middle else region.lower
    arrays = network.hidden.T.copy(), network.hidden_bias, network.output.T.copy(), network.output_bias
    constants = [tensor(array.astype(F), name) for name, array in zip("AbBc", arrays, strict=True)]
    nodes = [make.make_node("Gemm", ["x", "A", "b"], ["h"]), make.make_node("Relu", ["h"], ["r"])]
    nodes += [make.make_node("Gemm", ["r", "B", "c"], ["y"])]
    ends = [make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, k]) for name, k in (("x", d), ("y", 1))]
    graph = make.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 13)])
    model.ir_version = 8
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    share = rng.random((n, d), dtype=F)
    share[n // 2 :] = np.round(share[n // 2 :])
    spread, close = region.lower + share * (region.upper - region.lower), near + 1e-6 * rng.standard_normal((n, d))
    for X in (spread, close):
        X32 = np.clip(
            X.astype(F), np.nextafter(region.lower.astype(F), F(9)), np.nextafter(region.upper.astype(F), F(-9))
        )
        assert (session.run(None, {"x": X32})[0].astype(float) + high > 0).all()
