"""The second checker, written from the specification alone, agrees with the main one in exact arithmetic."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from certificates import Certificate, Verdict, check, fingerprint, read_certificate, write_certificate
from certificates.subdivision import Subdivision
from certificates.training import dual_value
from certnet.jobs.train import train
from formulations import InputError, TrainingProgram
from tests.certificates.altering import mutate_entry, replace, training_certificate
from tests.certificates.test_tampering import bases, mutate, mutate_tree
from tests.strategies import rng

SOURCE = Path(__file__).resolve().parents[2] / "examples" / "minimal_checker.py"


def verdict_of(path: Path) -> str:
    try:
        certificate = read_certificate(path)
        exact = not isinstance(certificate.proof, Subdivision)
        return check(certificate, arithmetic="exact" if exact else "float").verdict.value
    except InputError:
        return "UNKNOWN"


def test_it_is_small_and_stands_alone() -> None:
    text = SOURCE.read_text()
    assert len(text.splitlines()) <= 520
    imports = {line.split()[1].partition(".")[0] for line in text.splitlines() if line.startswith(("import", "from"))}
    assert not imports & {"certificates", "formulations", "certnet", "flint", "scipy"}


def test_true_certificates_are_proved_by_both(tmp_path: Path, minimal_checker) -> None:
    path = tmp_path / "a.cert"
    for certificate in bases():
        write_certificate(path, certificate)
        assert minimal_checker.check_file(path)[0] == "PROVED"
        assert verdict_of(path) == "PROVED"


@pytest.mark.parametrize("count", [50, pytest.param(300, marks=pytest.mark.slow)])
def test_mutations_get_the_same_verdict(count: int, tmp_path: Path, minimal_checker) -> None:
    random = rng(11)
    path = tmp_path / "a.cert"
    tally: Counter[str] = Counter()
    while tally.total() < count:
        mutant: Certificate = mutate(random, bases()[tally.total() % len(bases())])
        if not all(np.isfinite(x) for x in (mutant.gamma, mutant.lower_bound, mutant.objective)):
            continue  # The manifest cannot hold such a number.
        write_certificate(path, mutant)
        theirs, reason = minimal_checker.check_file(path)
        ours = verdict_of(path)
        # The main checker rounds objectives up, so it may be UNKNOWN where exact arithmetic decides. It looks at the
        # proof's shapes last, so it refutes a false claim where the other one does not even read the file.
        unread = ours == "REFUTED" and reason.startswith("Unreadable")
        same = theirs == ours or unread
        near = same or (ours == "UNKNOWN" and (close(mutant) or (theirs == "PROVED" and nearly_proved(mutant))))
        assert near, (theirs, ours, reason)
        tally[ours] += 1
    assert tally["PROVED"] > 3
    assert tally["UNKNOWN"] > 20


def close(certificate: Certificate) -> bool:
    """A claim within rounding of what it is compared with."""
    with np.errstate(all="ignore"):
        residual = np.maximum(certificate.X @ certificate.U, 0) @ certificate.V.T - certificate.Y
        squares = np.sum(certificate.U**2) + np.sum(certificate.V**2)
        objective = 0.5 * np.sum(residual**2) + 0.5 * certificate.gamma * squares
    trivial = 0.5 * np.sum(certificate.Y**2)
    claims = (certificate.objective, certificate.lower_bound)
    return any(abs(claim - value) <= 1e-9 * abs(value) for claim in claims for value in (objective, trivial))


def nearly_proved(certificate: Certificate) -> bool:
    """A subdivision is checked in floating point alone; with a little room it must be accepted as well."""
    if not isinstance(certificate.proof, Subdivision):
        return False
    room = replace(certificate, gamma=certificate.gamma * (1 + 1e-7), objective=1.1 * certificate.objective)
    # A forged basis of immense numbers, or one that is nearly dependent, is beyond floating point.
    condition = np.linalg.cond(certificate.proof.basis)
    return (
        check(room).verdict is Verdict.PROVED or not (condition < 1e6) or np.abs(certificate.proof.basis).max() > 1e100
    )


def subdivided(seed: int, n: int, c: int, *, spiral: bool = False) -> Certificate:
    """Two arms of a spiral with labels ±1, or Gaussian data, solved to a gap of 1e-4 in the plane."""
    random = rng(seed)
    if spiral:
        angle = np.linspace(0.3, 5.0, n // 2)
        arm = angle[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        X = np.concatenate([arm, -arm]) + 0.3 * random.standard_normal((n, 2))
        Y = np.repeat([[1.0], [-1.0]], n // 2, axis=0)
    else:
        X, Y = random.standard_normal((n, 2)), random.standard_normal((n, c))
    certificate = train(TrainingProgram(X, Y, 0.2), method="global", gap=1e-4).certificate
    assert isinstance(certificate.proof, Subdivision)
    return certificate


@pytest.fixture(scope="module")
def subdivisions() -> list[Certificate]:
    zero = training_certificate(
        X=np.zeros((1, 2)),
        Y=np.ones((1, 2)),
        data_fingerprint=fingerprint(np.zeros((1, 2)), np.ones((1, 2))),
        gamma=1.0,
        W=np.ones((1, 2)),
        source=np.zeros(0, dtype=np.int64),
        generator=np.array([-1]),
        proof=Subdivision(np.eye(2), np.array([-1] * 4), np.zeros(0)),
        U=np.zeros((2, 0)),
        V=np.zeros((2, 0)),
        lower_bound=0.99,
        objective=1.01,
        provenance={},
    )
    return [zero, subdivided(0, 6, 1), subdivided(2, 10, 2), subdivided(2, 10, 1, spiral=True)]


def test_subdivisions_are_proved_by_both(tmp_path: Path, minimal_checker, subdivisions) -> None:
    path = tmp_path / "a.cert"
    for certificate in subdivisions:
        write_certificate(path, certificate)
        assert minimal_checker.check_file(path)[0] == "PROVED"
        assert verdict_of(path) == "PROVED"


def test_cones_of_a_free_hidden_bias_are_proved_by_both(tmp_path: Path, minimal_checker) -> None:
    """There the cost of a vertex is not its length, and the directions that both choose depend on the cost."""
    X = np.array([[-1.0, 1.0], [1.0, -1.0], [0.0, -2.0], [-2.0, 2.0], [2.0, 2.0]])
    Y = np.array([[1.0, 0.0], [0.0, -1.0], [-1.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
    program = TrainingProgram(X, Y, 0.1, hidden_bias="free", output_bias="free")
    certificate = train(program, method="global", gap=0.1).certificate
    assert isinstance(certificate.proof, Subdivision)
    write_certificate(tmp_path / "a.cert", certificate)
    assert minimal_checker.check_file(tmp_path / "a.cert")[0] == verdict_of(tmp_path / "a.cert") == "PROVED"


@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_mutated_subdivisions_get_the_same_verdict(count: int, tmp_path: Path, minimal_checker, subdivisions) -> None:
    """Apart from claims within rounding of the truth: the main checker rounds here."""
    random = rng(12)
    path = tmp_path / "a.cert"
    tally: Counter[tuple[str, str]] = Counter()
    while tally.total() < count:
        c = subdivisions[tally.total() % len(subdivisions)]
        match random.integers(4):
            case 0:
                proof = mutate_tree(random, c.proof)
            case 1:
                name = str(random.choice(["basis", "codes", "positions"]))
                proof = replace(c.proof, **{name: mutate_entry(random, getattr(c.proof, name))})
            case 2:
                proof = c.proof
                W = c.W * float(random.choice([-1.0, 0.99, 1 + 1e-6, 1.01, 1.5]))
                c = replace(c, W=W, lower_bound=min(dual_value(c.statement, W), c.lower_bound))
            case _:
                proof = c.proof
                W = mutate_entry(random, c.W)
                if not np.isfinite(W).all() or not np.isfinite(dual_value(c.statement, W)):
                    continue
                c = replace(c, W=W, lower_bound=min(dual_value(c.statement, W), c.lower_bound))
        mutant = replace(c, proof=proof)
        write_certificate(path, mutant)
        theirs, reason = minimal_checker.check_file(path)
        ours = verdict_of(path)
        near = (theirs, ours) == ("PROVED", "UNKNOWN") and nearly_proved(mutant)
        assert theirs == ours or near, (theirs, ours, reason)
        tally[theirs, ours] += 1
    assert tally["PROVED", "PROVED"] > 3
    assert tally["UNKNOWN", "UNKNOWN"] > 0.3 * count
    assert tally["PROVED", "UNKNOWN"] <= 0.05 * count


def test_nonsense_is_unknown_in_one_line(tmp_path: Path, minimal_checker) -> None:
    path = tmp_path / "a.cert"
    for content in (b"", b"hello", b"PK\x03\x04" + bytes(100)):
        path.write_bytes(content)
        verdict, reason = minimal_checker.check_file(path)
        assert verdict == "UNKNOWN"
        assert reason
        assert "\n" not in reason
