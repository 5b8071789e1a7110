"""Small proved certificates of every shape, random changes of them, and the exact least margin on a line."""

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from certificates import Certificate, Robustness, Verdict, check
from certificates.proof import Circuits, LiftedProof
from certificates.robustness import preactivation_bounds
from certnet.jobs.verify import verify
from certnet.search.eliminated import eliminated_bound
from certnet.search.margin_proofs import case_proof
from certnet.search.regions import project
from formulations._validation import FloatArray, IntArray
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, UnsafeCase
from tests.certificates.altering import replace
from tests.verification.margin_bounds import Relaxation, margin_bound, reduce_case
from tests.verification.problems import random_ball, random_box, random_network

SPECIAL = [0.0, -0.0, 5e-324, 1e-308, 1e-160, 1e-154, 1e154, 1e160, 1.7e308, np.nan, np.inf, 1.0, -1.0]


def regions(seed: int, inputs: int) -> tuple[InputRegion, ...]:
    """A box, a ball, and both."""
    return random_box(seed, inputs), random_ball(seed, inputs), random_ball(seed, inputs, boxed=True)


def unstable_network(seed: int, region: InputRegion) -> ReluNetwork:
    """Six neurons, each with its kink in the region."""
    network = random_network(seed, inputs=region.inputs, width=6)
    points = project(region, np.random.default_rng(seed).uniform(region.lower, region.upper, (6, region.inputs)))
    return replace(network, hidden_bias=-np.sum(network.hidden * points, axis=1))


@cache
def proved_certificates() -> tuple[Certificate, ...]:
    """One case with one or two rows on a line and in the plane by every relaxation, searches with several leaves and
    with several cases, and proofs that use circuits in linear and in semidefinite leaves."""
    made: list[Certificate | None] = []
    for inputs, seed in ((1, 3), (2, 1)):
        for number, region in enumerate(regions(seed, inputs)):
            network = unstable_network(seed, region)
            random = np.random.default_rng(seed)
            H, h = random.standard_normal((1 + number % 2, 2)), random.standard_normal(1 + number % 2)
            case = UnsafeCase(region, H, h)
            bounds = [margin_bound(network, case, kind) for kind in Relaxation]
            made += [bound.certificate for bound in bounds] + [semidefinite(network, case)]
            # More than a relaxation proves, so that a search has to branch.
            shifted = [
                replace(case, h=h - bound.value + room) for bound, room in ((bounds[1], -0.1), (bounds[2], 0.02))
            ]
            made += [verify(network, tuple(shifted)).certificate]
    proved = [certificate for certificate in made if certificate is not None]
    proved += [extended for certificate in proved for extended in with_circuits(certificate)]
    assert all(check(certificate).verdict is Verdict.PROVED for certificate in proved)
    return tuple(proved)


def semidefinite(network: ReluNetwork, case: UnsafeCase) -> Certificate | None:
    """One semidefinite leaf, also where a linear one proves as much."""
    problem = reduce_case(network, case, *preactivation_bounds(network, case.region))
    mu = np.full(len(case.H), 1.0 / len(case.H))
    case = replace(case, h=case.h + 2.0 * np.abs(problem.weights).sum() + np.abs(problem.linear).sum())
    problem = reduce_case(network, case, *preactivation_bounds(network, case.region))
    found = eliminated_bound(problem, np.zeros(problem.neurons, dtype=np.int64), mu, -1.0)
    if found.leaf is None:
        return None
    proof = case_proof(problem, found.leaf, [mu], found.margin)
    made = Certificate(Robustness(network, (case,)), (proof,))
    return made if check(made).verdict is Verdict.PROVED else None


def with_circuits(certificate: Certificate) -> list[Certificate]:
    """The certificate with a circuit ``r_k = Σ c_j r_j`` and two small products of it, if that is still proved."""
    network, given = certificate.network, certificate.proofs[0]
    A = network.generators[given.stable == 0]
    N, k = A.shape
    for order in range(200 if k < N and not len(given.proof.circuits.target) else 0):
        random = np.random.default_rng(order)
        chosen = random.choice(N, k + 1, replace=False)
        signs = random.choice([-1.0, 1.0], k + 1)
        rows = signs[:, None] * A[chosen]
        if abs(np.linalg.det(rows[1:])) > 1e-3 and (np.linalg.solve(rows[1:].T, rows[0]) >= 0).all():
            proof = _appended(given.proof, np.where(signs > 0, chosen, N + chosen), 2 * N, network.inputs, given.margin)
            changed = replace(given, proof=proof, margin=0.5 * given.margin)
            extended = replace(certificate, proofs=(changed, *certificate.proofs[1:]))
            return [extended] if check(extended).verdict is Verdict.PROVED else []
    return []


def _appended(proof: LiftedProof, circuit: IntArray, t: int, inputs: int, size: float) -> LiftedProof:
    """With a circuit, whose products with t and with itself the first leaf uses."""
    position = t + 1 + 2 * inputs
    pairs = np.where(proof.pairs >= position, proof.pairs + 1, proof.pairs)
    new = np.array([[t, position], [position, position]])
    return replace(
        proof,
        circuits=Circuits(circuit[:1], np.array([0, len(circuit) - 1]), circuit[1:]),
        pairs=np.concatenate([new, pairs]),
        multipliers=np.concatenate([1e-8 * size * np.ones(2), proof.multipliers]),
        pair_offset=proof.pair_offset + np.where(np.arange(len(proof.pair_offset)) > 0, 2, 0),
    )


def mutate(random: np.random.Generator, certificate: Certificate) -> Certificate:
    """Some array of the proof or the statement changed. Raises InputError if that makes no statement."""
    i = int(random.integers(len(certificate.cases)))
    case, given = certificate.cases[i], certificate.proofs[i]
    match random.integers(10):
        case 0:
            network = _changed(random, certificate.network, ["hidden", "hidden_bias", "output", "output_bias"])
            return replace(certificate, network=network)
        case 1:
            case = _changed(random, case, ["H", "h"])
        case 2:
            case = replace(case, region=_changed_region(random, case.region))
        case 3:
            given = _changed(random, given, ["mu", "stable"])
        case 4:
            given = replace(given, margin=given.margin * float(random.choice([0.5, 1 - 1e-6, 1 + 1e-4, 1.5, 2.0])))
        case 5:
            part = str(random.choice(["circuits", "triangles"]))
            names = {"circuits": ["target", "offset", "support"], "triangles": ["neuron", "bounds"]}[part]
            changed = _changed(random, getattr(given.proof, part), names)
            given = replace(given, proof=replace(given.proof, **{part: changed}))
        case 6:
            names = ["split", "children", "leaf", "pair_offset", "pairs"]
            given = replace(given, proof=_changed(random, given.proof, names))
        case _:
            given = replace(given, proof=_changed(random, given.proof, ["multipliers", "complementarity", "sigma"]))
    cases, proofs = list(certificate.cases), list(certificate.proofs)
    cases[i], proofs[i] = case, given
    return replace(certificate, cases=tuple(cases), proofs=tuple(proofs))


def _changed(random: np.random.Generator, owner: Any, names: list[str]) -> Any:
    name = str(random.choice(names))
    array = np.array(getattr(owner, name))
    change: Callable[..., None] = _change_numbers if array.dtype.kind == "f" else _change_indices
    if array.size:
        change(random, array)
    return replace(owner, **{name: array})


def _change_numbers(random: np.random.Generator, array: FloatArray) -> None:
    i = tuple(random.integers(n) for n in array.shape)
    match random.integers(4):
        case 0:
            array[i] = random.choice(SPECIAL)
        case 1:
            array[i] *= 1 + random.standard_normal() * 10.0 ** -random.integers(0, 16)
        case 2:
            array *= random.choice([0.5, 2.0, -1.0, 1e-160, 1e160, 0.999, 1.001])
        case _:
            array[...] = np.abs(array * (1 + 10.0 ** -random.integers(0, 9) * random.standard_normal(array.shape)))


def _change_indices(random: np.random.Generator, array: IntArray) -> None:
    i = tuple(random.integers(n) for n in array.shape)
    array[i] = random.choice([array[i] + random.integers(-2, 3), random.integers(-1, 12), array.flat[0]])


def _changed_region(random: np.random.Generator, region: InputRegion) -> InputRegion:
    if region.centre is not None and region.radius is not None and random.random() < 0.5:
        radius = np.array([region.radius])
        _change_numbers(random, radius)
        if random.random() < 0.5:
            return replace(region, radius=float(radius[0]))
        return _changed(random, region, ["centre"])
    if random.random() < 0.2:
        return replace(region, upper=region.lower)
    return _changed(random, region, ["lower", "upper"])


def least_on_line(network: ReluNetwork, case: UnsafeCase) -> Fraction | None:
    """min over the region of max_r (H f(x) + h)_r for one input, exactly; None if the region is empty.

    Between kinks every row is linear, so the minimum is at a kink, at an end, or where two rows cross.
    """
    low, high = Fraction(case.region.lower[0]), Fraction(case.region.upper[0])
    if case.region.centre is not None and case.region.radius is not None:
        centre, radius = Fraction(case.region.centre[0]), Fraction(case.region.radius)
        low, high = max(low, centre - radius), min(high, centre + radius)
    if low > high:
        return None
    exact = np.vectorize(Fraction, otypes=[object])
    U, b = exact(network.hidden)[:, 0], exact(network.hidden_bias)
    weights = exact(case.H) @ exact(network.output)
    constants = exact(case.H) @ exact(network.output_bias) + exact(case.h)

    def rows(x: Fraction) -> list[Fraction]:
        return list(weights @ np.maximum(U * x + b, Fraction(0)) + constants)

    kinks = {-q / u for u, q in zip(U, b, strict=True) if u and low <= -q / u <= high}
    points = sorted(kinks | {low, high})
    values = [rows(x) for x in points]
    least = min(max(value) for value in values)
    for start, end in pairwise(values):
        for i, j in np.ndindex(len(start), len(start)):
            before, after = start[i] - start[j], end[i] - end[j]
            if before < 0 < after:
                share = before / (before - after)
                least = min(least, max(p + (q - p) * share for p, q in zip(start, end, strict=True)))
    return least
