"""What the fuzzer calls tells the truth about small certificates of every kind, and notices a lie."""

from pathlib import Path

import numpy as np
import pytest

from certificates import Report, write_certificate
from formulations import InputError
from tests.certificates.altering import replace
from tests.certificates.by_hand import certificate, problem
from tests.certificates.proofs import linear_robustness
from tests.fuzz import examine
from tests.fuzz.seeds import write_seeds


@pytest.mark.slow
def test_seeds_of_every_kind_are_proved(tmp_path: Path) -> None:
    write_seeds(tmp_path)
    verdicts = {path.stem: examine.examine(path, 10.0) for path in tmp_path.iterdir()}
    assert {name.rstrip("0123456789") for name in verdicts} == {"optimality", "robustness", "lipschitz"}
    assert set(verdicts.values()) == {"PROVED"}


def test_nonsense_is_no_certificate(tmp_path: Path) -> None:
    path = tmp_path / "a.cert"
    path.write_bytes(b"hello")
    with pytest.raises(InputError):
        examine.examine(path, 1.0)


def test_a_false_claim_that_a_checker_proves_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, base = tmp_path / "a.cert", linear_robustness()
    write_certificate(path, replace(base, cases=(replace(base.cases[0], h=np.full(len(base.cases[0].h), -1e9)),)))
    assert examine.examine(path, 10.0) == "UNKNOWN"
    lie = Report(examine.Verdict.PROVED, "", "float", 0.0, margin=0.1)
    monkeypatch.setattr(examine, "check", lambda *_, **__: lie)
    with pytest.raises(AssertionError):
        examine.examine(path, 10.0)


@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
def test_a_false_bound_that_a_checker_proves_is_noticed(loss: str, tmp_path: Path, monkeypatch) -> None:
    path, made = tmp_path / "a.cert", certificate(problem(loss, "free", "free"))
    write_certificate(path, made)
    assert examine.examine(path, 10.0) == "PROVED"
    for changes in ({"lower_bound": made.lower_bound + 1e-9}, {"objective": made.objective - 1e-9}):
        values = {"lower_bound": made.lower_bound, "objective": made.objective, **changes}
        lie = Report(examine.Verdict.PROVED, "", "float", 0.0, **values)
        monkeypatch.setattr(examine, "check", lambda *_, lie=lie, **__: lie)
        with pytest.raises(AssertionError):
            examine.examine(path, 10.0)
