"""Every value of a manifest replaced by every odd one: a sentence, or a certificate that is checked as any other."""

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certificates import Verdict, check, read_certificate, write_certificate
from certificates.container import MANIFEST
from certificates.making.assemble import certify, residual_dual
from certnet.jobs.lipschitz import lipschitz_constant
from formulations import InputError, TrainingProgram, merge_rows
from tests.certificates.proofs import linear_robustness
from tests.strategies import rng
from tests.verification.problems import random_network

# As JSON text, so that numbers beyond float64 and halves of surrogate pairs can be written.
ODD = [
    "null", "true", "0", "-1", "1.0", "1e-400", "1e999", "-0.0", "9" * 30, "9" * 400, "9" * 5000, '""', '"x"',
    '"\\ud800"', '"\\u0000"', '"' + "y" * 3000 + '"', "[]", "{}", "[[]]", '{"a": [1]}', "[true, 4]", "[1e999]",
    "[" * 3000 + "]" * 3000,
]  # fmt: skip
MARK = "\x07here\x07"


def training(path: Path) -> None:
    merged = merge_rows(TrainingProgram(rng(1).standard_normal((4, 2)), rng(2).standard_normal((4, 1)), 0.3))
    U, V = np.zeros((2, 0)), np.zeros((1, 0))
    provenance = {"data": {"source": "a.csv"}, "list": [1, 2.5]}
    certificate, _ = certify(merged, [residual_dual(merged, U, V)], U, V, provenance=provenance)
    write_certificate(path, certificate)


def slope(path: Path) -> None:
    write_certificate(path, lipschitz_constant(random_network(3, inputs=2, width=3), np.eye(2)).certificate)


def margin(path: Path) -> None:
    write_certificate(path, linear_robustness())


KINDS: dict[str, tuple[Callable[[Path], None], Callable[[Path], Any]]] = {
    "training": (training, lambda path: check(read_certificate(path))),
    "lipschitz": (slope, lambda path: check(read_certificate(path))),
    "robustness": (margin, lambda path: check(read_certificate(path))),
}


def with_marks(value: Any) -> Iterator[Any]:
    """The tree with each of its values, inner and outer, replaced by a mark."""
    yield MARK
    if isinstance(value, dict):
        for key, below in value.items():
            for marked in with_marks(below):
                yield {**value, key: marked}
    elif isinstance(value, list):
        for i, below in enumerate(value):
            for marked in with_marks(below):
                yield [*value[:i], marked, *value[i + 1 :]]


def sparse(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest with a mark for one of its arrays; the others are alike."""
    arrays = dict(list(manifest["arrays"].items())[:1])
    return {**manifest, "arrays": arrays}


@pytest.mark.parametrize("kind", KINDS)
def test_odd_values_give_a_sentence_or_a_checked_certificate(kind: str, tmp_path: Path) -> None:
    write, examine = KINDS[kind]
    path = tmp_path / "a.cert"
    write(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(members[MANIFEST])
    trees = [json.dumps({**tree, "arrays": {**manifest["arrays"], **tree["arrays"]}}) if isinstance(tree, dict)
             and isinstance(tree["arrays"], dict) else json.dumps(tree)
             for tree in with_marks(sparse(manifest))]  # fmt: skip
    verdicts, sentences = set(), []
    for tree in trees:
        for odd in ODD:
            with zipfile.ZipFile(path, "w") as archive:
                for name, data in members.items():
                    text = tree.replace(json.dumps(MARK), odd).encode() if name == MANIFEST else data
                    archive.writestr(zipfile.ZipInfo(name), text)
            try:
                verdicts.add(examine(path).verdict)
            except InputError as error:
                sentences.append(str(error))
    assert len(sentences) > 100
    assert not any("\n" in sentence or len(sentence) > 400 + len(str(path)) for sentence in sentences)
    assert Verdict.PROVED in verdicts  # odd values in the provenance do no harm


def test_an_array_that_memory_cannot_hold_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.cert"
    training(path)

    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(hashlib, "sha256", full)
    with pytest.raises(InputError, match="not enough memory"):
        read_certificate(path)
