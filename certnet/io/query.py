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
from typing import TYPE_CHECKING, Any

import numpy as np

from certificates.arithmetic.floating import inflate
from certificates.certificate import FLOAT32, REAL
from certificates.float32 import lowered, row_errors
from certificates.robustness import preactivation_bounds
from certnet.io.cases import Property
from certnet.io.float32 import require_plain, require_plain_graph
from certnet.io.folding import side_by_side, stacked
from certnet.io.load_network import read_network
from certnet.io.onnx_graph import decoded, read_onnx
from certnet.io.onnx_reference import ELEMENTS
from certnet.io.output import Writer
from certnet.io.packed import ending
from certnet.io.vnnlib import stated, text_of
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
        InputError: as for ``read_vnnlib``, for the networks' files, and where these are not what the query declares.
        OutOfTimeError: it takes longer than these seconds.
    """
    return abandonable(lambda: _read(path, files, semantics), seconds=seconds)


def _read(path: str | Path, files: Mapping[str, str] | str, semantics: str) -> Query:
    with text_of(path) as text:
        found = stated(text)
        if found.networks:
            wanted = [network.name for network in found.networks if network.equal_to is None]
            files = dict.fromkeys(wanted[:1], files) if isinstance(files, str) else files
            missing = next((name for name in wanted if name not in files), None)
            if missing is not None:
                raise InputError(f"it declares a network {missing} without a file; add --network {missing}=FILE.")
            extra = next((name for name in files if name not in wanted), None)
            if extra is not None:
                equal = next((network.equal_to for network in found.networks if network.name == extra), None)
                why = "which it does not declare" if equal is None else f"which it calls equal to {equal}"
                raise InputError(f"--network names {extra}, {why}; leave it out.")
            semantics = semantics_of(found.networks, semantics)
            # Two of one name are one network, which then has fewer inputs than are declared.
            named = {one.name: (files[one.equal_to or one.name], one) for one in found.networks}
            network = side_by_side([_declared(*pair, plain=semantics == FLOAT32) for pair in named.values()])
        else:
            if not isinstance(files, str) and len(files) != 1:
                raise InputError(f"version 1.0 is about one network, but {len(files)} are named; name one.")
            (file,) = [files] if isinstance(files, str) else files.values()
            read = read_network(file)
            if semantics == FLOAT32:
                require_plain(file, read)
            network = read.on()
        asked = found.of(network)
        assert asked.network is not None
        exact, cases = charged(asked.network, asked.cases)
        about = {**vars(asked), "network": exact, "cases": cases}
        return Query(**about, networks=found.networks, semantics=semantics, scores=network.outputs)


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


def _declared(path: str, declared: "Declaration", *, plain: bool) -> ReluNetwork:
    """The network of a file: inputs in the declared order, then hidden nodes and outputs in that order.

    With ``plain`` its file has to be a program that float32 semantics are about.
    """
    if ending(Path(path)) != ".onnx":
        if len(declared.tensors) > 2 or any(tensor.element != "real" for tensor in declared.tensors):
            raise InputError(f"{declared.name} has types or several tensors, for which {path} has to be an ONNX file.")
        read = read_network(path)
        if plain:
            require_plain(path, read)
        network = read.on()
        sizes = tuple(tensor.size for tensor in declared.tensors)
        if (network.inputs, network.outputs) != sizes:
            raise InputError(
                f"the network {declared.name} is declared with {sizes[0]} inputs and {sizes[1]} outputs, but that of "
                f"{path} has {network.inputs} and {network.outputs}; give the network it was made for."
            )
        return network
    graph = decoded(Path(path)).graph
    constants = {tensor.name for tensor in graph.initializer}
    given = _paired(path, declared.of("input"), [value for value in graph.input if value.name not in constants])
    wanted = _paired(path, declared.of("output"), graph.output)
    shapes = {node.name: tensor.shape for tensor, node in given.items()}
    names = [*(tensor.node or "" for tensor in declared.of("hidden")), *(node.name for node in wanted.values())]
    parts = [read_onnx(Path(path), output=name, shapes=shapes).on() for name in names]
    for tensor, part in zip(declared.of("hidden", "output"), parts, strict=True):
        if part.outputs != tensor.size:
            raise InputError(
                f"{tensor.name} is declared with {tensor.size} entries, but in {path} it has {part.outputs}."
            )
    network = stacked(parts)
    if plain:
        require_plain_graph(path, graph, network)
    return network


def serialised(tensor: "Tensor", values: Sequence[Fraction]) -> Writer:
    """A writer of a TensorProto with these values, row by row; real numbers are rounded to float64."""
    import onnx

    kind = np.float32 if tensor.element == "float32" else np.float64
    array = np.array([float(value) for value in values], dtype=kind).reshape(tensor.shape)
    content = onnx.numpy_helper.from_array(array, tensor.name).SerializeToString()
    return lambda path: path.write_bytes(content)


def _paired(path: str, tensors: "Sequence[Tensor]", nodes: Sequence[Any]) -> "dict[Tensor, Any]":
    """The file's ValueInfoProto of each declared tensor: by name where names are declared, else in order.

    They have to have the types and lengths that are declared.
    """
    if len(tensors) != len(nodes):
        kind = tensors[0].kind if tensors else "output"
        raise InputError(f"the query declares {len(tensors)} {kind} tensors, but {path} has {len(nodes)}.")
    by_name = {node.name: node for node in nodes}
    named = [tensor.node for tensor in tensors]
    if any(named) and not (len({*named}) == len(named) and {*named} <= by_name.keys()):
        raise InputError(
            f"names of nodes in {path} have to be declared for all of its inputs or none, each once; "
            f"it has {', '.join(by_name)}."
        )
    found = {tensor: by_name[tensor.node] if tensor.node else node for tensor, node in zip(tensors, nodes, strict=True)}
    for tensor, node in found.items():
        kind = node.type.tensor_type
        element = ELEMENTS.get(kind.elem_type)
        if tensor.element not in ("real", element):
            raise InputError(
                f"{tensor.name} is declared {tensor.element}, but in {path} the tensor {node.name!r} is "
                f"{element or 'a type that certnet does not know'}; declare that, or real."
            )
        # The file may leave a length open, or even how many there are.
        lengths = [entry.dim_value if entry.HasField("dim_value") else None for entry in kind.shape.dim]
        pairs = zip(lengths, tensor.shape, strict=False)
        fits = len(lengths) == len(tensor.shape) and all(own in (None, length) for own, length in pairs)
        if kind.HasField("shape") and not fits:
            own = ",".join("any" if length is None else str(length) for length in lengths)
            wanted = ",".join(map(str, tensor.shape))
            raise InputError(
                f"{tensor.name} is declared with the shape [{wanted}], but in {path} the tensor {node.name!r} has "
                f"[{own}]; declare that."
            )
    return found
