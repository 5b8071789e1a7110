"""The second checker, written from the specification alone, agrees with the main one in exact arithmetic."""

import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from certificates import OptimalityCertificate, check, read_certificate, write_certificate
from formulations import InputError
from tests.certificates.test_tampering import BASES, mutate
from tests.strategies import rng

SOURCE = Path(__file__).resolve().parents[2] / "examples" / "minimal_checker.py"


@pytest.fixture(scope="module")
def minimal_checker():
    spec = importlib.util.spec_from_file_location("minimal_checker", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def verdict_of(path: Path) -> str:
    try:
        return check(read_certificate(path), arithmetic="exact").verdict.value
    except InputError:
        return "UNKNOWN"


def test_it_is_small_and_stands_alone() -> None:
    text = SOURCE.read_text()
    assert len(text.splitlines()) < 250
    imports = {line.split()[1].partition(".")[0] for line in text.splitlines() if line.startswith(("import", "from"))}
    assert not imports & {"certificates", "formulations", "certnet", "flint", "scipy"}


@pytest.mark.parametrize("number", range(len(BASES)))
def test_true_certificates_are_proved_by_both(number: int, tmp_path: Path, minimal_checker) -> None:
    path = tmp_path / "a.cert"
    write_certificate(path, BASES[number])
    assert minimal_checker.check_file(path)[0] == "PROVED"
    assert verdict_of(path) == "PROVED"


@pytest.mark.parametrize("count", [150, pytest.param(2000, marks=pytest.mark.slow)])
def test_mutations_get_the_same_verdict(count: int, tmp_path: Path, minimal_checker) -> None:
    random = rng(11)
    path = tmp_path / "a.cert"
    tally: Counter[str] = Counter()
    while tally.total() < count:
        mutant: OptimalityCertificate = mutate(random, BASES[tally.total() % len(BASES)])
        if not all(np.isfinite(x) for x in (mutant.gamma, mutant.lower_bound, mutant.objective)):
            continue  # The manifest cannot hold such a number.
        write_certificate(path, mutant)
        theirs, reason = minimal_checker.check_file(path)
        ours = verdict_of(path)
        # The main checker rounds objectives up, so it may be UNKNOWN where exact arithmetic decides. It looks at the
        # proof's shapes last, so it refutes a false claim where the other one does not even read the file.
        unread = ours == "REFUTED" and reason.startswith("Unreadable")
        assert theirs == ours or unread or (ours == "UNKNOWN" and close(mutant)), (theirs, ours, reason)
        tally[ours] += 1
    assert tally["PROVED"] > 3
    assert tally["UNKNOWN"] > 20


def close(certificate: OptimalityCertificate) -> bool:
    """A claim within rounding of what it is compared with."""
    with np.errstate(all="ignore"):
        residual = np.maximum(certificate.X @ certificate.U, 0) @ certificate.V.T - certificate.Y
        squares = np.sum(certificate.U**2) + np.sum(certificate.V**2)
        objective = 0.5 * np.sum(residual**2) + 0.5 * certificate.gamma * squares
    trivial = 0.5 * np.sum(certificate.Y**2)
    claims = (certificate.objective, certificate.lower_bound)
    return any(abs(claim - value) <= 1e-9 * abs(value) for claim in claims for value in (objective, trivial))


def test_nonsense_is_unknown_in_one_line(tmp_path: Path, minimal_checker) -> None:
    path = tmp_path / "a.cert"
    for content in (b"", b"hello", b"PK\x03\x04" + bytes(100)):
        path.write_bytes(content)
        verdict, reason = minimal_checker.check_file(path)
        assert verdict == "UNKNOWN"
        assert reason
        assert "\n" not in reason
