"""A query of VNN-LIB with the networks that it is about, as the solver interface of the standard passes them.

Where weights are products or sums of numbers in a file, float64 may not hold them, and the network that is proved is
another one by as little as ``ReluNetwork.off`` says. On a box that moves output k by at most E_k; so E is taken off
what a proof has to reach, and added to what a counterexample has to.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from certificates.arithmetic.floating import inflate
from certificates.certificate import FLOAT32, REAL
from certificates.float32 import lowered, row_errors
from certificates.robustness import preactivation_bounds
from certnet.io.cases import Property
from certnet.io.load_network import read_network
from certnet.io.vnnlib import Stated, stated, text_of
from certnet.runtime.abandon import abandonable
from certnet.runtime.wording import up
from formulations import InputError
from formulations._validation import FloatArray
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, UnsafeCase

if TYPE_CHECKING:
    from certnet.io.vnnlib2 import Declaration, Tensor

GUARANTEED = (REAL, FLOAT32)
"""Element types for which answers hold: of real numbers, and whatever evaluates float32."""
CHARGED = (
    "The network's weights are products and sums of the file's numbers, which float64 rounds. That changes its outputs "
    "by at most {most} where the property looks, which is charged: answers are about the file's own numbers, while a "
    "certificate holds the rounded weights and the stricter rows."
)


@dataclass(frozen=True, eq=False)
class Query(Property):
    """What is asked, of which network: that of all networks of the query, with outputs for what the query relates.

    Attributes:
        network: its first outputs are the declared entries of hidden nodes and outputs.
        networks: as version 2.0 declares them; none for a file of version 1.0.
        scores: how many outputs the networks have, before a function at the end of the one.
    """

    network: ReluNetwork
    networks: "tuple[Declaration, ...]"
    semantics: str
    scores: int

    @property
    def tensors(self) -> "tuple[Tensor, ...]":
        return tuple(tensor for network in self.networks for tensor in network.tensors)


def read_query(
    path: str | Path, files: Mapping[str, str] | str, *, semantics: str = REAL, seconds: float | None = None
) -> Query:
    """Read a property file and the network files that are named for it.

    Args:
        path: a VNN-LIB file. One of version 1.0 takes one network, whatever its name.
        files: a file for each network that the query declares and does not call equal to another; or the file of the
            only one.
        semantics: "float32" to ask it of every evaluation in float32 where the file does not say so itself.
        seconds: after which reading is given up.

    Raises:
        InputError: files are missing, too many, or not of what the query declares; or an element type for which no
            answer can be guaranteed.
        OutOfTimeError: it takes longer than these seconds.
    """
    return abandonable(lambda: _read(path, files, semantics), seconds=seconds)


def _read(path: str | Path, files: Mapping[str, str] | str, semantics: str) -> Query:
    with text_of(path) as text:
        found = stated(text)
        if not found.networks:
            if not isinstance(files, str) and len(files) != 1:
                raise InputError(f"version 1.0 is about one network, but {len(files)} are named; name one.")
            (file,) = [files] if isinstance(files, str) else files.values()
            read = read_network(file)
            if semantics == FLOAT32:
                from certnet.io.float32 import require_plain

                require_plain(file, read)
            return _query(found, read.on(), semantics)
        from certnet.io.declared import declared_network
        from certnet.io.joint import side_by_side

        if isinstance(files, str):
            files = dict.fromkeys([network.name for network in found.networks if network.equal_to is None][:1], files)
        _require_named(found.networks, files)
        semantics = semantics_of(found.networks, semantics)
        known: dict[str, ReluNetwork] = {}
        for network in found.networks:
            file = files[network.equal_to or network.name]
            known[network.name] = declared_network(file, network, plain=semantics == FLOAT32)
        return _query(found, side_by_side([*known.values()]), semantics)


def named_files(texts: Sequence[str]) -> dict[str, str] | str:
    """The files of texts NAME=FILE by these names, or the file that is all there is."""
    if len(texts) == 1 and "=" not in texts[0]:
        return texts[0]
    files: dict[str, str] = {}
    for text in texts:
        name, equals, file = text.partition("=")
        if not (name and equals and file):
            raise InputError(f"--network must be NAME=FILE, such as N=net.onnx, not {text[:60]!r}.")
        if name in files:
            raise InputError(f"--network names {name} twice; give it one file.")
        files[name] = file
    return files


def _query(found: Stated, network: ReluNetwork, semantics: str) -> Query:
    asked = found.of(network)
    assert asked.network is not None
    exact, cases = charged(asked.network, asked.cases)
    about = {**vars(asked), "network": exact, "cases": cases}
    return Query(**about, networks=found.networks, semantics=semantics, scores=network.outputs)


def _require_named(networks: "tuple[Declaration, ...]", files: Mapping[str, str]) -> None:
    wanted = [network.name for network in networks if network.equal_to is None]
    missing = next((name for name in wanted if name not in files), None)
    if missing is not None:
        raise InputError(f"it declares a network {missing} without a file; add --network {missing}=FILE.")
    extra = next((name for name in files if name not in wanted), None)
    if extra is not None:
        equal = next((network.equal_to for network in networks if network.name == extra), None)
        why = "which it does not declare" if equal is None else f"which it calls equal to {equal}"
        raise InputError(f"--network names {extra}, {why}; leave it out.")


def semantics_of(networks: "tuple[Declaration, ...]", otherwise: str) -> str:
    """Float32 where that is declared; for all types that are an answer can be guaranteed."""
    elements = {tensor.element for network in networks for tensor in network.tensors}
    other = next((element for element in sorted(elements) if element not in GUARANTEED), None)
    if other is not None:
        raise InputError(
            f"it declares {other}, for which certnet guarantees nothing; declare real to have networks of every type "
            "taken as functions of real numbers."
        )
    return FLOAT32 if FLOAT32 in elements else otherwise


def charged(network: ReluNetwork, cases: Sequence[UnsafeCase]) -> tuple[ReluNetwork, tuple[UnsafeCase, ...]]:
    """The same network with a note, and cases of it that decide those of the exact one.

    Where it is not known what rounding changed, or it overflows, both stay as they are, and the note says so.
    """
    if network.off is None:
        return network, tuple(cases)
    regions = {id(case.region): case.region for case in cases}
    known = {key: _errors(network, network.off, region) for key, region in regions.items()}
    most = max((float(errors.max()) for errors in known.values()), default=0.0)
    if not most < math.inf:
        return network, tuple(cases)
    found = []
    for case in cases:
        errors = known[id(case.region)]
        charges = [sum(abs(weight) * Fraction(errors[j]) for j, weight in row.weights) for row in case.rows]
        rows = tuple(
            replace(row, constant=row.constant + charge) for row, charge in zip(case.rows, charges, strict=True)
        )
        found.append(replace(lowered(case, row_errors(case, errors)), stated=rows))
    return network.told(CHARGED.format(most=up(most, 3)), network.ending, network.off), tuple(found)


def _errors(network: ReluNetwork, off: tuple[float, float, float, float], region: InputRegion) -> FloatArray:
    """(c,) E for all inputs of the region's box."""
    own, bias, last, shift = off
    sizes = np.maximum(np.abs(region.lower), np.abs(region.upper))
    with np.errstate(all="ignore"):
        # What overflows is infinite, or no number, and then nothing is decided.
        active = np.maximum(preactivation_bounds(network, region)[1], 0.0)
        moved = own * sizes.sum() + bias
        total = np.abs(network.output).sum(axis=1) * moved + last * (active + moved).sum() + shift
        return inflate(np.asarray(total), 2 * (network.width + network.inputs) + 8)
