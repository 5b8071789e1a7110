"""Trees of splits that come from elsewhere: completed, refuted, or refused in a sentence."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from certificates import Verdict, check
from certificates.proof import LEAF, LiftedProof
from certnet.io.split_tree import SplitTree, read_split_tree
from certnet.jobs.verify import verify
from formulations import InputError
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, UnsafeCase
from tests.verification.problems import exact_least_margin, random_network

NETWORK = random_network(4, inputs=4, width=10)
BOX = InputRegion(-np.ones(4), np.ones(4))
ROW = np.array([[1.0, -1.0]])


@cache
def least() -> float:
    """The least value of that row on the box."""
    return exact_least_margin(NETWORK, UnsafeCase(BOX, ROW, np.zeros(1)))


def case(margin: float) -> UnsafeCase:
    """That the difference of the outputs is at most its least value minus ``margin``."""
    return UnsafeCase(BOX, ROW, np.array([margin - least()]))


def leaves(proof: LiftedProof, kept: list[int]) -> list[list[list[int]]]:
    """The leaves of a proof as a file lists them."""
    found, stack = [], [(0, [])]
    while stack:
        node, way = stack.pop()
        if proof.split[node] == LEAF:
            found.append(way)
        else:
            neuron = kept[proof.split[node]]
            stack += [
                (int(child), [*way, [neuron, sign]]) for child, sign in zip(proof.children[node], (1, -1), strict=True)
            ]
    return found


def written(path: Path, *cases: list, **other: object) -> Path:
    path.write_text(json.dumps({"format": "certnet-split-tree", "version": 1, "cases": cases, **other}))
    return path


def test_the_tree_of_a_proof_needs_no_further_split(tmp_path: Path) -> None:
    alone = verify(NETWORK, [case(0.02)])
    assert alone.certificate is not None
    (proof,) = alone.certificate.proofs
    kept = np.flatnonzero(proof.stable == 0).tolist()
    listed = leaves(proof.proof, kept)
    assert len(listed) > 3
    tree = read_split_tree(written(tmp_path / "t.json", listed[::-1]), NETWORK)
    assert tree.leaves == len(listed)
    found = verify(NETWORK, [case(0.02)], tree=tree)
    assert found.certificate is not None
    again = found.certificate.proofs[0].proof
    assert sorted(map(str, leaves(again, kept))) == sorted(map(str, listed))
    # One bound of the whole region, and one for each leaf.
    assert found.nodes == (1 + len(listed), 0)
    assert check(found.certificate, arithmetic="exact").verdict is Verdict.PROVED


def test_any_tree_ends_in_the_truth(tmp_path: Path) -> None:
    stable = ReluNetwork(
        np.vstack([NETWORK.hidden, NETWORK.hidden[:2]]),
        np.append(NETWORK.hidden_bias, [100.0, -100.0]),
        np.hstack([NETWORK.output, [[1.0, 1.0], [1.0, 1.0]]]),
        NETWORK.output_bias,
    )
    # Two neurons whose sign the region fixes, at the top and below; their other sides are empty.
    given = [[[10, 1], [3, 1], [11, 1]], [[10, 1], [3, 1], [11, -1]], [[10, 1], [3, -1]], [[10, -1]]]
    tree = read_split_tree(written(tmp_path / "t.json", given), stable)
    assert verify(stable, [case(0.02)], tree=tree).verdict is Verdict.PROVED
    assert verify(stable, [case(-0.02)], tree=tree).verdict is Verdict.REFUTED
    two = SplitTree((tree.cases[0], (LEAF,)))
    assert verify(stable, [case(0.02), case(0.03)], tree=two).verdict is Verdict.PROVED
    with pytest.raises(InputError, match="trees for 2 cases"):
        verify(stable, [case(0.02)], tree=two)
    with pytest.raises(InputError, match="splits neuron 11"):
        verify(NETWORK, [case(0.02)], tree=SplitTree(((11, LEAF, LEAF),)))
    for broken in ((), (3, LEAF), (3, LEAF, LEAF, LEAF), (-2,)):
        with pytest.raises(InputError, match="preorder"):
            SplitTree((broken,))


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ([], "the root is split on nothing"),
        ([[[3, 1]]], "no leaf where neuron 3 is inactive"),
        ([[[3, 1]], [[3, -1], [4, -1]]], r"below the vertex \[3, -1\] there is no leaf where neuron 4 is active"),
        ([[[3, 1]], [[4, -1]]], "the root is split on 3 and on 4"),
        ([[[3, 1]], [[3, -1]], [[3, -1]]], "listed once more"),
        ([[], [[3, 1]], [[3, -1]]], "the root is a leaf"),
        ([[[10, 1]], [[10, -1]]], "neurons are 0 to 9"),
        ([[[-1, 1]], [[-1, -1]]], "neurons are 0 to 9"),
        ([[[3, 1], [3, 1]], [[3, 1], [3, -1]], [[3, -1]]], "neuron 3 a second time"),
        ([[[3, 0]], [[3, -1]]], "no tree of splits"),
        ([[[3.5, 1]], [[3.5, -1]]], "no tree of splits"),
        ([[[1 << 70, 1]], [[1 << 70, -1]]], "no tree of splits"),
        ({"neuron": 3}, "no tree of splits"),
    ],
)
def test_leaves_that_are_no_tree_are_refused(tmp_path: Path, listed: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_split_tree(written(tmp_path / "t.json", listed), NETWORK)


@pytest.mark.parametrize(
    "text",
    ["", "[" * 100_000, "{}", '{"format": "other", "version": 1, "cases": [[[]]]}', '{"cases": [[[]]]}', "\udcff"],
)
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_text(text, errors="surrogateescape")
    with pytest.raises(InputError, match="no tree of splits"):
        read_split_tree(tmp_path / "t.json", NETWORK)
    with pytest.raises(InputError, match="no tree of splits"):
        read_split_tree(written(tmp_path / "t.json", [[]], more=1), NETWORK)
    with pytest.raises(InputError, match="cannot be read"):
        read_split_tree(tmp_path / "lost.json", NETWORK)


def test_a_tree_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certnet.io.split_tree.MOST_SIGNS", 19)
    with pytest.raises(InputError, match="too many leaves"):
        read_split_tree(written(tmp_path / "t.json", [[[3, 1]], [[3, -1]]]), NETWORK)
