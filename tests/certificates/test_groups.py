"""Proofs in groups of rows: what is proved group by group holds of the whole slack, and no forged proof passes."""

import tracemalloc
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from certificates import Certificate, Verdict, check, fingerprint, read_certificate, write_certificate
from certificates.arithmetic import MATRICES, Arithmetic
from certificates.making.assemble import assemble
from certificates.making.repair import repair, repair_without_products
from certificates.nonnegativity import MAX_ORDER
from certificates.norm_bound import parts_of
from certnet.solvers import solve
from formulations import Dual, TrainingProgram, merge_rows
from tests.certificates.altering import mutate_entry, replace, training_certificate
from tests.certificates.by_hand import LOSSES, every, is_lifted, problem
from tests.certificates.proofs import integers, linear_robustness, simple
from tests.certificates.test_loss_mutations import forge, is_true, mutate, program_of
from tests.certificates.test_odd_arrays import slope
from tests.strategies import networks, rng


def in_groups(c: Certificate, groups: np.ndarray) -> Certificate:
    return replace(c, proof=replace(c.proof, groups=np.asarray(groups)))


def whole(c: Certificate) -> Certificate:
    """The same proof without groups."""
    return in_groups(c, integers([]))


def random_groups(random: np.random.Generator, neurons: int) -> np.ndarray:
    """Up to four groups, some of them empty, and shared generators among them."""
    groups = random.integers(0, min(4, neurons), neurons)
    groups[random.random(neurons) < 0.25] = -1
    return groups


def grouped(program: TrainingProgram, seed: int) -> Certificate:
    """Products of the solver's dual within random groups."""
    random, merged = rng(seed), merge_rows(program)
    m = merged.program.space.neurons
    groups = random_groups(random, m)
    U, V = min(networks(program, seed), key=lambda network: program.objective(*network))
    dual, g = solve(merged.program, tolerance=1e-2).dual, np.tile(groups, 2)
    N = np.where((g[:, None] == g) | (g[:, None] < 0) | (g < 0), dual.N, 0.0)
    return in_groups(assemble(merged, repair(merged.program, Dual(dual.W, N)), U, V, {}), groups)


def gaussian(seed: int) -> TrainingProgram:
    random = rng(seed)
    n, d, c = (int(x) for x in random.integers((8, 2, 1), (11, 4, 3)))
    X, Y = random.standard_normal((n, d)), random.standard_normal((n, c))
    return TrainingProgram(X, Y, 0.4, hidden_bias=("none", "penalised")[seed % 2])


@cache
def bases() -> list[Certificate]:
    """Of every loss: with products where no bias of neurons is free, and by hand with every bias and a region."""
    made, random = [grouped(gaussian(seed), seed) for seed in range(2)], rng(0)
    for number, loss in enumerate(LOSSES[::2]):
        s = problem(loss, ("none", "penalised")[number % 2], ("none", "free")[number // 2 % 2], seed=number, n=7)
        made.append(grouped(program_of(s), number))
    for c in list(filter(is_lifted, every()))[::7]:
        proof = c.proof
        made.append(in_groups(c, random_groups(random, proof.complementarity.shape[1])))
    return made


@pytest.mark.slow
def test_what_is_proved_in_groups_is_proved_of_the_whole_and_by_the_second_checker(
    tmp_path: Path, minimal_checker: ModuleType
) -> None:
    path, products = tmp_path / "a.cert", 0
    for number, c in enumerate(bases()):
        for arithmetic in MATRICES:
            report = check(c, arithmetic=arithmetic)
            assert report.verdict is Verdict.PROVED, report
        assert report.lower_bound == check(whole(c), arithmetic=arithmetic).lower_bound
        assert check(whole(c), arithmetic="exact").verdict is Verdict.PROVED
        assert is_true(c)
        write_certificate(path, c)
        read = read_certificate(path)
        assert (read.proof.groups == c.proof.groups).all()
        assert number % 3 or minimal_checker.check_file(path)[0] == "PROVED"
        products += len(np.unique(c.proof.groups)) > 2 and len(c.proof.pairs) > 4
    assert products >= 4


@pytest.mark.parametrize(
    "arithmetic", [pytest.param(each, marks=[pytest.mark.slow] * (each != "float")) for each in MATRICES], ids=str
)
def test_a_slack_that_is_nearly_singular(arithmetic: Arithmetic) -> None:
    """W is made so large that the whole slack is at the limit: never is more proved in groups than is true."""
    for c in bases()[:4]:
        for away in (0.0, 1e-12, 1e-10, 1e-9, 1e-8):
            larger = replace(c, W=c.W * (1 + 5e-10 + away), lower_bound=-1e9)
            if check(larger, arithmetic=arithmetic).verdict is Verdict.PROVED:
                assert check(whole(larger), arithmetic="exact").verdict is Verdict.PROVED
        less = 1 - 1e-6 if c.statement.loss == "squared" else 1.0
        assert check(replace(c, W=c.W * less, lower_bound=-1e9), arithmetic=arithmetic).verdict is Verdict.PROVED


def test_a_group_that_is_singular_in_one_arithmetic_alone_is_a_failed_proof() -> None:
    """Of 2(1 − 2⁻⁵³) + 2⁻⁵⁵ + 1.5 · 2⁻⁵⁵ rounding step by step and at the end differ, and one of them is singular."""
    X, pairs = np.array([[1.0], [-1.0]]), [(0, 1), (0, 3), (2, 3)]
    proof = simple(2, pairs, 2.0 * np.array([1 - 2.0**-53, 2.0**-55, 1.5 * 2.0**-55]), -np.ones(2))
    proof = replace(proof, groups=integers([0, 0]))
    none, at = np.zeros((1, 0)), integers([0, 1])
    c = training_certificate(X, X, fingerprint(X, X, np.ones(2)), 100.0, 0.5 * X, at, at, proof, none, none, 0.1, 1.1)
    for arithmetic in (*MATRICES, "auto"):
        assert check(c, arithmetic=arithmetic).verdict is Verdict.UNKNOWN


def altered(random: np.random.Generator, c: Certificate) -> Certificate:
    """As for proofs of every loss, and in what only a proof in groups has."""
    if random.random() < 0.5:
        return mutate(random, c)
    name = str(random.choice(["groups", "pairs", "multipliers", "complementarity", "pair_offset"]))
    array = getattr(c.proof, name)
    array = random.permutation(array) if random.random() < 0.2 else mutate_entry(random, array)
    return forge(random, replace(c, proof=replace(c.proof, **{name: array})))


@pytest.mark.parametrize("count", [50, pytest.param(250, marks=pytest.mark.slow)])
def test_no_mutation_proves_more_than_the_whole_slack_does(count: int) -> None:
    random, tally = rng(count), dict.fromkeys(Verdict, 0)
    for number in range(count):
        mutant = altered(random, bases()[number % len(bases())])
        report = check(mutant, arithmetic=str(random.choice([*MATRICES])))
        tally[report.verdict] += 1
        if report.verdict is Verdict.PROVED:
            assert check(whole(mutant), arithmetic="exact").verdict is Verdict.PROVED, number
            assert is_true(mutant), number
    assert tally[Verdict.PROVED] > 0.05 * count
    assert tally[Verdict.UNKNOWN] > 0.3 * count


SINGLE = {"own groups": np.arange, "one group": np.zeros, "its last number": lambda n: np.full(n, n - 1)}


@pytest.mark.parametrize("make", [*SINGLE.values(), lambda n: np.full(n, -1)], ids=[*SINGLE, "all shared"])
def test_odd_groups_of_a_proof_without_products(make) -> None:
    c = next(filter(is_lifted, every()))
    assert check(in_groups(c, make(c.proof.complementarity.shape[1]).astype(np.int64))).verdict is Verdict.PROVED


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda p: {"groups": p.groups[1:]}, "groups has shape"),
        (lambda p: {"groups": p.groups.astype(np.float64)}, "groups has type float64"),
        (lambda p: {"groups": np.full(p.groups.size, np.nan)}, "groups has type float64"),
        (lambda p: {"groups": p.groups - 2}, "group is outside"),
        (lambda p: {"groups": p.groups + p.groups.size}, "group is outside"),
        (lambda p: {"groups": p.groups * 0 + 2**62}, "group is outside"),
        (lambda p: {"groups": np.append(integers([-7, -5]), 0 * p.groups[2:] - 1)}, "group is outside"),
        (lambda p: {"groups": np.arange(p.groups.size)}, "a pair of multipliers joins two groups"),
        (lambda p: {"pairs": p.pairs[:-1]}, "pairs has shape"),
        (lambda p: {"pairs": np.repeat(p.pairs[:1], len(p.pairs), axis=0)}, "a pair of multipliers is listed twice"),
        (lambda p: {"multipliers": -p.multipliers}, "is negative"),
        (lambda p: {"complementarity": 0.0 * p.complementarity}, ""),
        (lambda p: {"complementarity": -p.complementarity}, ""),
        (lambda p: {"complementarity": 1e300 * p.complementarity}, ""),
        (lambda p: {"split": p.split + 1}, "split"),
        (
            lambda _: {
                "split": integers([0, -1, -1]),
                "children": integers([[1, 2], [-1, -1], [-1, -1]]),
                "leaf": integers([-1, 0, 0]),
            },
            "in groups has one leaf",
        ),
    ],
)
def test_improper_groups_are_refused_in_a_sentence(change, reason: str) -> None:
    c = bases()[0]
    for arithmetic in MATRICES:
        report = check(replace(c, proof=replace(c.proof, **change(c.proof))), arithmetic=arithmetic)
        assert report.verdict is Verdict.UNKNOWN
        assert reason in report.reason
        assert "\n" not in report.reason


@pytest.mark.parametrize("make", [linear_robustness, slope])
def test_other_statements_have_no_proofs_in_groups(make) -> None:
    c = make()
    first = c.proofs[0]
    neurons = first.proof.complementarity.shape[1]
    forged = replace(c, proofs=(replace(first, proof=replace(first.proof, groups=np.zeros(neurons, dtype=np.int64))),))
    report = check(forged)
    assert report.verdict is Verdict.UNKNOWN
    assert "groups" in report.reason


def many_rows(n: int) -> Certificate:
    """A weak proof with tiny products between neighbours and with two shared generators, in groups of a hundred."""
    random = rng(0)
    X, Y = random.standard_normal((n, 3)), random.standard_normal((n, 2))
    merged = merge_rows(TrainingProgram(X, Y, 5.0))
    dual = repair_without_products(merged.program, merged.merge_W(Y))
    c = assemble(merged, dual, np.zeros((3, 0)), np.zeros((2, 0)), {})
    groups, row = np.arange(n) // 100, np.arange(2, n)
    groups[:2] = -1
    near = row[1:][groups[row[1:]] == groups[row[:-1]]]
    pairs = np.concatenate([np.stack([near - 1, near], axis=1), np.stack([row % 2, n + row], axis=1)])
    values = np.full(len(pairs), 1e-9 * np.abs(dual.t).min())
    proof = replace(c.proof, pairs=pairs, multipliers=values, pair_offset=integers([0, len(pairs)]), groups=groups)
    return replace(c, proof=proof)


@pytest.mark.slow
def test_the_order_is_that_of_a_group() -> None:
    c = many_rows(MAX_ORDER // 2)
    assert "this checker stops at" in check(whole(c)).reason
    tracemalloc.start()
    report = check(c, arithmetic="float")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.verdict is Verdict.PROVED
    assert peak < 2**25
    assert "stops at" in check(in_groups(c, np.zeros(len(c.X), dtype=np.int64))).reason


def test_every_pair_is_in_one_part_with_its_generators() -> None:
    for c in bases():
        groups, pairs = c.proof.groups, c.proof.pairs % c.proof.groups.size
        first, *others = parts_of(c.proof, c.Y.shape[1])
        assert len(first[1]) == 0
        assert (groups[first[0]] == -1).all()
        for own, touched, which in others:
            assert len(np.unique(groups[own])) == 1
            assert (groups[touched] == -1).all()
            assert set(pairs[which].ravel().tolist()) == {*own.tolist(), *touched.tolist()}
        which = np.concatenate([part[2] for part in (first, *others)])
        assert sorted(which.tolist()) == list(range(len(pairs)))
