"""The second checker for robustness certificates agrees with the main one, and neither proves what is false."""

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from certificates import Certificate, Verdict, check, read_certificate, write_certificate
from formulations import InputError
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, UnsafeCase
from tests.certificates.altering import replace
from tests.certificates.proofs import linear_robustness
from tests.conftest import example
from tests.verification.mutants import least_on_line, mutate, proved_certificates
from tests.verification.problems import exact_least_margin

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SOURCE = EXAMPLES / "minimal_robustness_checker.py"


@pytest.fixture(scope="module")
def minimal() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))  # it imports the other one
        yield example(SOURCE.stem)


def test_it_is_small_and_stands_alone() -> None:
    lines = SOURCE.read_text().splitlines()
    assert len(lines) <= 320
    imports = {line.split()[1].partition(".")[0] for line in lines if line.startswith(("import", "from"))}
    assert imports <= {"struct", "sys", "fractions", "math", "pathlib", "typing", "minimal_checker"}


def test_true_certificates_of_every_shape_are_proved_by_both(tmp_path: Path, minimal) -> None:
    path, seen = tmp_path / "a.cert", Counter()
    for certificate in proved_certificates():
        write_certificate(path, certificate)
        assert minimal.check_file(path)[0] == "PROVED"
        report = check(read_certificate(path), arithmetic="exact")
        assert report.verdict is Verdict.PROVED
        circuits = certificate.proofs[0].proof.circuits.target.size > 0
        seen[report.semidefinite_leaves > 0, circuits, certificate.cases[0].region.has_ball] += 1
        seen["leaves"] += report.linear_leaves + report.semidefinite_leaves > len(certificate.cases)
        seen["cases"] += len(certificate.cases) > 1
        seen["rows"] += len(certificate.cases[0].H) > 1
    semidefinite = [(True, circuits, ball) for circuits in (False, True) for ball in (False, True)]
    assert all(seen[shape] > 0 for shape in ["leaves", "cases", "rows", (False, False, False), *semidefinite])


@cache
def least_of(network: ReluNetwork, case: UnsafeCase) -> tuple[float | Fraction, float]:
    """(exact least margin, uncertainty of it): none on a line, that of a solver in the plane."""
    if network.inputs == 1:
        value = least_on_line(network, case)
        return np.inf if value is None else value, 0.0
    value = exact_least_margin(network, case)
    return value, 1e-5 * (1 + abs(value))


def largest(certificate: Certificate) -> float:
    """The largest number of the statement, or one over the radius of a ball if that is larger."""
    arrays = [getattr(certificate.network, name) for name in ("hidden", "hidden_bias", "output", "output_bias")]
    for case in certificate.cases:
        region = case.region
        arrays += [case.H, case.h, region.lower, region.upper]
        if region.centre is not None and region.radius is not None:
            arrays += [region.centre, np.array([region.radius, 1.0 / max(region.radius, 1e-300)])]
    return max(float(np.abs(array).max(initial=0.0)) for array in arrays)


def with_room(certificate: Certificate) -> Certificate:
    """A slightly weaker claim: what exact arithmetic proves of a claim, rounding must let pass of this one."""
    cases, proofs = [], []
    for case, given in zip(certificate.cases, certificate.proofs, strict=True):
        region = case.region
        shrunk = 1e-9 * (region.upper - region.lower)
        if (region.lower + shrunk <= region.upper - shrunk).all():
            region = replace(region, lower=region.lower + shrunk, upper=region.upper - shrunk)
        if region.radius is not None:
            region = replace(region, radius=(1 - 1e-9) * region.radius)
        cases.append(replace(case, region=region))
        proofs.append(replace(given, margin=0.999 * given.margin))
    return replace(certificate, cases=tuple(cases), proofs=tuple(proofs))


@pytest.mark.parametrize("count", [50, pytest.param(250, marks=pytest.mark.slow)])
def test_mutants_get_the_same_verdict_and_none_proves_what_is_false(count: int, tmp_path: Path, minimal) -> None:
    random, path = np.random.default_rng(count), tmp_path / "a.cert"
    bases, tally = proved_certificates(), Counter()
    while tally.total() < count:
        base = bases[tally.total() % len(bases)]
        try:
            mutant = mutate(random, base)
        except InputError:
            continue
        write_certificate(path, mutant)
        theirs, reason = minimal.check_file(path)
        report = check(read_certificate(path), arithmetic="exact")
        same = theirs == report.verdict.value
        # The main checker rounds in linear leaves and pre-activations, so it may be UNKNOWN at the limit and where
        # numbers overflow.
        rounded = largest(mutant) > 1e100 or check(with_room(mutant)).verdict is Verdict.PROVED
        assert same or (theirs == "PROVED" and rounded), (theirs, reason, report)
        tally[theirs, report.verdict.value] += 1
        # Off the line the truth comes from a solver, which is slow and has no business with numbers of extreme size.
        judged = base.network.inputs == 1 or (count > 1000 and largest(mutant) < 1e3)
        if report.verdict is Verdict.PROVED and judged:
            for value, uncertainty in (least_of(mutant.network, case) for case in mutant.cases):
                assert value == np.inf or Fraction(report.margin) <= Fraction(value) + Fraction(uncertainty)
    assert tally["PROVED", "PROVED"] > 0.1 * count
    assert tally["UNKNOWN", "UNKNOWN"] > 0.3 * count
    assert tally["PROVED", "UNKNOWN"] <= 0.02 * count


def test_nonsense_is_unknown_in_one_line(tmp_path: Path, minimal) -> None:
    path = tmp_path / "a.cert"
    for content in (b"", b"hello", b"PK\x03\x04" + bytes(100)):
        path.write_bytes(content)
        verdict, reason = minimal.check_file(path)
        assert verdict == "UNKNOWN"
        assert reason
        assert "\n" not in reason


@pytest.mark.parametrize("kind", [InputRegion.l2, InputRegion.linf])
def test_the_margin_on_a_line_is_that_of_the_patterns(kind) -> None:
    """The exact oracle of these tests against the solver's."""
    for certificate in proved_certificates()[:4]:
        case = certificate.cases[0]
        if certificate.network.inputs == 1:
            case = replace(case, region=kind(case.region.lower, 0.7))
            assert float(least_on_line(certificate.network, case)) == pytest.approx(
                exact_least_margin(certificate.network, case), abs=1e-6
            )


@pytest.mark.parametrize("total", [3.0, 7.0, 1.1, 1e-3])
def test_margins_are_printed_rounded_down(tmp_path: Path, minimal, total: float) -> None:
    """δ/Σμ is seldom a float64 number, and the nearest one is too large half of the time."""
    path, base = tmp_path / "a.cert", linear_robustness()
    given = base.proofs[0]
    for step in range(20):
        margin = given.margin * (0.5 + step / 64)
        proof = replace(given, mu=np.full_like(given.mu, total), margin=margin * total)
        # Multipliers of the linear proof grow with the weights, and its rest only by rounding.
        proof = replace(proof, proof=replace(given.proof, multipliers=given.proof.multipliers * total))
        write_certificate(path, replace(base, proofs=(proof,)))
        verdict, reason = minimal.check_file(path)
        assert verdict == "PROVED"
        truth = Fraction(margin * total) / max(Fraction(1), Fraction(total))
        assert Fraction(float(reason.split("at least ")[1].split(",")[0])) <= truth
        assert Fraction(check(read_certificate(path)).margin) <= truth
