"""``certnet doctor`` and the reports on this machine."""

import re

import numpy as np
import pytest

from certnet.runtime.machine import versions
from certnet.solvers import available_solvers
from tests.cli.support import Call


def test_json_lists_every_solver_with_a_reason_where_it_cannot_run(certnet: Call) -> None:
    outcome = certnet("doctor", "--json")
    report = outcome.json
    assert outcome.code == 0
    assert outcome.err == ""
    assert (report["schema"], report["command"], report["verdict"]) == ("certnet/1", "doctor", None)
    assert {name: solver["reason"] for name, solver in report["solvers"].items()} == dict(available_solvers())
    assert all(solver["available"] == (solver["reason"] is None) for solver in report["solvers"].values())
    assert report["versions"]["numpy"] == np.__version__
    assert all(library["num_threads"] >= 1 for library in report["blas"])
    assert report["cpus"]["usable"] >= 1


def test_text_says_the_same(certnet: Call) -> None:
    outcome = certnet("doctor")
    assert outcome.code == 0
    assert f"numpy          {np.__version__}" in outcome.out
    for name in available_solvers():
        assert f" {name}: " in outcome.out
    assert "CPUs" in outcome.out
    assert "memory" in outcome.out


def test_a_driver_that_fails_is_no_gpu(certnet: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certnet.runtime.machine.shutil.which", lambda name: "/nonexistent/nvidia-smi")
    report = certnet("doctor", "--json").json
    assert report["gpu"]["devices"] == []


def test_versions_of_what_is_not_installed_are_null() -> None:
    assert versions(("certainly-not-installed",))["certainly-not-installed"] is None


def test_version_option(certnet: Call) -> None:
    outcome = certnet("--version")
    assert outcome.code == 0
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", outcome.out)
    assert certnet("--name").out == "certnet\n"


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["check", "-h"], ["doctor", "--help"]])
def test_help_names_the_exit_codes(certnet: Call, arguments: list[str]) -> None:
    outcome = certnet(*arguments)
    assert outcome.code == 0
    text = " ".join(outcome.out.split())
    for code in ("0 proved", "1 refuted", "2 usage or bad input", "3 unknown", "130 interrupted"):
        assert code in text
