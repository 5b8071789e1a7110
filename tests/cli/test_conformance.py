"""The conformance suite of VNN-LIB 2.0, in the part that is about two-layer networks: `vnnlib-satisfactory` on PyPI.

In full it runs with ``vnnlib-satisfactory run --solver certnet``; docs/vnn-lib.md says what comes out.
"""

from pathlib import Path

import pytest

from tests.cli.support import Call

ROOT = Path(__file__).resolve().parents[2]
SHORT = ("relu", "hidden", "multi_io", "network_equal", "network_multiple", "network_single")
DECIDED = (
    *("add", "arithmetic_bnd", "arithmetic_lin", "arithmetic_outc", "concat", "constant", "constantofshape", "conv"),
    *("expand", "flatten", "gather", "gemm", "matmul", "mul", "neg", "reducesum", "reshape", "slice"),
    *("split", "sub", "transpose", "unsqueeze"),
)
"""Groups whose cases are about affine maps and one layer of ReLUs."""
OTHERS = (
    *("arithmetic_poly", "batchnormalization", "cast", "div", "equal", "maxpool", "network_isomorphic", "pow"),
    *("reducemean", "shape", "sigmoid", "softmax", "where"),
)
"""Groups that are not, or where the standard asks for an error; the documentation says why."""
APART = ("gemm03", "gemm04", "mul03")
"""Cases of the groups above that are not: factors, and a product of inputs."""


def wrong_and_open(certnet: Call, folder: Path, group: str) -> tuple[list[str], list[str]]:
    """The cases of a group whose answer is the opposite of the right one, and those without an answer."""
    pytest.importorskip("vnnlib", reason="the vnnlib package is not installed")
    registry = pytest.importorskip("vnntest.core.registry", reason="vnnlib-satisfactory is not installed")
    generator, onnx = pytest.importorskip("vnntest.core.generator"), pytest.importorskip("onnx")
    wrong, undecided = [], []
    cases = registry.get_cases(suite="full", node_type=group)
    assert cases
    for case in cases:
        network, query = folder / f"{case.id}.onnx", folder / f"{case.id}.vnnlib"
        onnx.save(case.build_onnx_model(), str(network))
        query.write_text(case.build_vnnlib_spec())
        names = generator._manifest_entry(case, network, query)["networks"]
        named = (part for name in names for part in ("--network", f"{name}={network}"))
        done = certnet("verify", query, *named, "--timeout", "20")
        word = done.out.split("\n", 1)[0]
        if word not in ("sat", "unsat"):
            undecided.append(case.id)
        elif word != case.expected_output().lower():
            wrong.append(case.id)
    return wrong, undecided


@pytest.mark.parametrize("group", SHORT)
def test_cases_of_two_layer_networks(certnet: Call, tmp_path: Path, group: str) -> None:
    assert wrong_and_open(certnet, tmp_path, group) == ([], [])


@pytest.mark.slow
@pytest.mark.parametrize("group", DECIDED)
def test_cases_of_affine_networks(certnet: Call, tmp_path: Path, group: str) -> None:
    wrong, undecided = wrong_and_open(certnet, tmp_path, group)
    assert (wrong, set(undecided) - {*APART}) == ([], set())


@pytest.mark.slow
@pytest.mark.parametrize("group", OTHERS)
def test_no_case_of_another_network_is_answered_wrongly(certnet: Call, tmp_path: Path, group: str) -> None:
    assert wrong_and_open(certnet, tmp_path, group)[0] == []


def test_the_documentation_names_every_group() -> None:
    text = (ROOT / "docs" / "vnn-lib.md").read_text(encoding="utf-8")
    assert [name for name in (*SHORT, *DECIDED, *OTHERS, *APART) if f"`{name}`" not in text] == []
