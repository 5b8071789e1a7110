"""The safeNLP medical boxes, whose verdicts six verifiers agree on. The data lie beside the checkout, if at all."""

import csv

import numpy as np
import pytest

from certificates import Verdict, check, read_certificate, write_certificate
from certnet.io import read_relu_network
from certnet.io.vnnlib import read_vnnlib
from certnet.jobs.verify import verify
from certnet.search.counterexample import confirm
from tests.conftest import SHARED

FOLDER = SHARED / "safenlp_medical"
EASY = (
    "hyperrectangle_34.vnnlib",
    "hyperrectangle_943.vnnlib",
    "hyperrectangle_14.vnnlib",
    "hyperrectangle_2882.vnnlib",
)


def expected() -> dict[str, str]:
    if not FOLDER.is_dir():
        pytest.skip("the safeNLP boxes are not beside this checkout")
    with (FOLDER / "expected.csv").open() as file:
        return {row["instance"]: row["expected"] for row in csv.DictReader(file)}


def agree(names, table, folder) -> None:
    pytest.importorskip("onnx")
    network = read_relu_network(FOLDER / "perturbations_0.onnx")
    for name in names:
        stated = read_vnnlib(FOLDER / "vnnlib" / name)
        result = verify(network, stated.cases, time_limit=120.0)
        if table[name] == "unsat":
            assert result.verdict is Verdict.PROVED, (name, result.reason)
            assert result.certificate is not None
            write_certificate(folder / "a.cert", result.certificate)
            assert check(read_certificate(folder / "a.cert")).verdict is Verdict.PROVED
        else:
            assert result.verdict is Verdict.REFUTED, (name, result.reason)
            found = result.counterexample
            assert found is not None
            assert confirm(network, stated.cases[found.case], np.array(found.x), found.case) is not None


def test_easy_boxes(tmp_path) -> None:
    agree(EASY, expected(), tmp_path)


@pytest.mark.slow
def test_every_second_box(tmp_path) -> None:
    table = expected()
    assert len(table) == 120
    agree([*table][::2], table, tmp_path)
