"""Two-layer networks as ONNX graphs: reading, by following the nodes from the input to the output.

What is read is the function of real numbers that the graph states for one data point alone: casts between types of
floating-point numbers change nothing there. Weights are the file's, exactly, as long as nothing but products and sums
that float64 holds was needed to put layers together; else they are rounded, and the network carries a note.
"""

import importlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from certnet.io.chain import Chain
from certnet.io.network import TwoLayerNetwork
from certnet.io.onnx_learned import LABELS
from certnet.io.onnx_nodes import apply
from certnet.io.onnx_reference import ELEMENTS, FOLDED, MOVES, ROUNDED, Node, Opsets, advice
from certnet.io.onnx_signals import LARGEST_SIGNAL, Operand, OtherNodeError, Signal, settled
from certnet.io.packed import LARGEST_FILE, Array, Tensors, part_of_onnx, plain, read_bytes
from formulations import InputError

_FROM_WHOLE = ("Cast", "LinearClassifier", "LinearRegressor", "Scaler", "Shape", "Size")
"""Operators that make floating-point numbers, or shapes, of whole numbers."""
LARGEST_TOTAL = 2**28
"""Most numbers of all that nodes compute, which is 2 GB."""

Shapes = Mapping[str, tuple[int, ...]]


def read_onnx(path: Path, *, output: str | None = None, shapes: Shapes | None = None) -> TwoLayerNetwork:
    """Read a graph of affine nodes before, between and after one layer of ReLUs or of what is a sum of such.

    Shifts and scales of the input become the network's offset and scale, as in ``Chain.network``. A function of all
    outputs at the end, such as Softmax, is named in ``network.ending``; the network has the outputs before it.

    Args:
        output: the value that is meant as output, by default the graph's one output.
        shapes: those of the inputs by name, whose entries are all one data point's; by default as the graph says.
    """
    model = decoded(path)
    if output is not None:
        del model.graph.output[:]
        model.graph.output.add(name=output)
    return _Graph(path, model, shapes).network()


def decoded(path: Path) -> Any:
    try:
        decode_error = importlib.import_module("google.protobuf.message").DecodeError
        messages = part_of_onnx("onnx_ml_pb2")
    except ImportError:
        raise InputError(
            f"Reading {path.name} needs the onnx package; install it with pip install 'certnet[onnx]', or save the "
            "network as .safetensors."
        ) from None
    content = read_bytes(path, LARGEST_FILE)
    try:
        model = messages.ModelProto.FromString(content)
    except (decode_error, ValueError, RecursionError):
        raise InputError(f"{path.name} is no ONNX file or was cut off; export the network again.") from None
    if not _names_are_text(model):
        raise InputError(f"{path.name} holds names that are no text; export the network again.")
    if len(model.graph.node) == 0:
        raise InputError(f"{path.name} holds no graph; export the network again.")
    return model


def _names_are_text(model: Any) -> bool:
    """Whether names are strings; the decoder hands bytes over where they are no UTF-8."""
    graph = model.graph
    names = [value.name for part in (graph.initializer, graph.input, graph.output) for value in part]
    names += [entry.domain for entry in model.opset_import]
    names += [text for t in graph.initializer for entry in t.external_data for text in (entry.key, entry.value)]
    for node in graph.node:
        names += [node.name, node.op_type, node.domain, *node.input, *node.output]
        names += [name for entry in node.attribute for name in (entry.name, entry.t.name)]
    return all(isinstance(name, str) for name in names)


class _Graph:
    def __init__(self, path: Path, model: Any, shapes: Shapes | None = None) -> None:
        self.source, self.graph, self._known_shapes = path.name, model.graph, shapes
        self._tensors = Tensors(path)
        self._opsets = Opsets(self.source, model, self._tensors)
        self._initial = {tensor.name: tensor for tensor in self.graph.initializer}
        self._inputs = [value for value in self.graph.input if value.name not in self._initial]
        names = [*self._initial, *(value.name for value in self._inputs)]
        names += [name for node in self.graph.node for name in node.output if name]
        if len(names) > len(set(names)) or len(self._initial) < len(self.graph.initializer):
            raise InputError(f"{self.source} gives two values one name; export the network again.")

    def network(self) -> TwoLayerNetwork:
        if len(self._inputs) != 1 and self._known_shapes is None:
            raise InputError(
                f"{self.source} has {len(self._inputs)} inputs; certnet reads networks of one input tensor, so export "
                "it with all features in one."
            )
        if len(self.graph.sparse_initializer):
            raise InputError(f"{self.source} has sparse weights; export it with dense ones.")
        needed = self._needed()
        self._require_floats(needed)
        nodes = [self._opsets.node(proto) for proto in needed]
        used = dict.fromkeys(name for node in nodes for name in node.inputs if name in self._initial)
        self._constants: dict[str, Operand] = {name: self._tensors.array(self._initial[name]) for name in used}
        failures: list[tuple[int, InputError]] = []
        for likely in self._shapes() if self._known_shapes is None else [[self._known_shapes]]:
            tried = [self._read(nodes, shapes, failures) for shapes in likely]
            found = [network for network in tried if network is not None]
            if len(found) > 1:
                raise self._shapeless()
            if found:
                return found[0]
        raise max(failures, key=lambda failure: failure[0])[1] if failures else self._shapeless()

    def _read(
        self, nodes: Sequence[Node], shapes: Shapes, failures: list[tuple[int, InputError]]
    ) -> TwoLayerNetwork | None:
        """The network for inputs of these shapes; a failure is kept with how many values were known before."""
        known = dict(self._constants)
        self._rounded, self._total, self._counted = False, 0, set[int]()
        try:
            known.update(self._signals(shapes))
            for node in nodes:
                self._follow(node, known)
            return self._result(known)
        except InputError as error:
            failures.append((len(known), error))
            return None

    def _require_floats(self, nodes: Sequence[Any]) -> None:
        """Whole numbers as inputs may be moved and cast alone: their quotients are others, and their sums overflow."""
        types = {value.name: value.type.tensor_type.elem_type for value in self._inputs}
        whole = {name for name, kind in types.items() if kind not in (0, *ELEMENTS)}
        for node in nodes:
            if whole.isdisjoint(node.input) or node.op_type in _FROM_WHOLE:
                continue
            if node.op_type not in (*MOVES, "ArrayFeatureExtractor"):
                raise InputError(
                    f"{self.source} takes whole numbers or other things than floating-point ones, which go to "
                    f"{node.op_type} as they are; export it with float32 inputs."
                )
            whole.update(node.output)

    def _signals(self, shapes: Shapes) -> dict[str, Signal]:
        """The inputs of these shapes, one after the other in one vector."""
        sizes = [math.prod(shape) for shape in shapes.values()]
        if not 0 < sum(sizes) <= LARGEST_SIGNAL:
            raise InputError(
                f"{self.source} has inputs of {sum(sizes)} entries; certnet reads from 1 to {LARGEST_SIGNAL}."
            )
        chain, ends = Chain(size=sum(sizes), whole=self._known_shapes is not None), np.cumsum([0, *sizes])
        return {
            name: settled(chain, (start + np.arange(size)).reshape(shape))
            for (name, shape), start, size in zip(shapes.items(), ends, sizes, strict=False)
        }

    def _needed(self) -> list[Any]:
        """The nodes that the outputs depend on, in the order of the file, which has each after those that it uses."""
        wanted, nodes = {value.name for value in self.graph.output}, []
        for node in reversed(self.graph.node):
            if not wanted.isdisjoint(node.output):
                nodes.append(node)
                wanted.update(node.input)
        return nodes[::-1]

    def _shapes(self) -> Iterator[list[Shapes]]:
        """The input's shapes for one data point: of a matrix the rows or the columns may be such; weights decide.

        Lengths that are not fixed are among those of the constants. Of shapes that come together one alone may fit;
        all else fits a length of 1 by broadcasting, so it comes last.
        """
        name, dimensions = self._inputs[0].name, self._dimensions
        if len(dimensions) > 2:
            if not all(dimensions[1:]) or math.prod(dimensions[1:]) > LARGEST_SIGNAL:
                raise self._shapeless()
            yield [{name: (1, *dimensions[1:])}]
            return
        tensors = [*self.graph.initializer, *(entry.t for node in self.graph.node for entry in node.attribute)]
        constant = {length for tensor in tensors for length in tensor.dims if 1 < length <= LARGEST_SIGNAL}
        count, length = [0, 0, *dimensions][-2:]
        vector = len(dimensions) == 1
        yield [{name: (n,) if vector else (1, n)} for n in ([length] if length else sorted(constant))]
        if not length:
            yield [{name: (1,) if vector else (1, 1)}]
        # Where columns are data points, their number is not fixed, or 1.
        if length < 2 and not vector:
            yield [{name: (n, 1)} for n in ([count] if count else [1, *sorted(constant)])]

    @property
    def _dimensions(self) -> tuple[int, ...]:
        """Of the one input, 0 where the file fixes none."""
        return tuple(max(int(entry.dim_value), 0) for entry in self._inputs[0].type.tensor_type.shape.dim)

    def _shapeless(self) -> InputError:
        return InputError(f"{self.source} takes inputs of shape {self._dimensions}; fix all but the first dimension.")

    def _follow(self, node: Node, known: dict[str, Operand]) -> None:
        absent = next((name for name in node.inputs if name and name not in known), None)
        if absent is not None:
            raise InputError(f"{node.label} uses {absent!r}, which nothing computes before; export the network again.")
        try:
            with np.errstate(all="ignore"):
                # What overflows is found when the network is put together.
                results = self._computed(node, [known[name] if name else None for name in node.inputs])
        except OtherNodeError:
            raise
        except InputError as error:
            raise InputError(f"{node.label} {error}.") from None
        known.update(zip(node.proto.output, results, strict=False))
        self._require_room(operand for operand in results if operand is not None)

    def _require_room(self, results: Iterable[Array | Signal]) -> None:
        """Count the numbers of what was computed, all of which stay; arrays that are there already cost nothing."""
        for result in results:
            chain = result.chain if isinstance(result, Signal) else None
            parts = [] if chain is None else [part.values for part in (chain.matrix, *(chain.hidden or ())) if part]
            for array in (result.places if isinstance(result, Signal) else result, *parts):
                self._total += 0 if id(array) in self._counted else array.size
                self._counted.add(id(array))
        if self._total > LARGEST_TOTAL:
            raise InputError(f"{self.source} makes more than {LARGEST_TOTAL} numbers, the most that certnet computes.")

    def _computed(self, node: Node, operands: list[Operand]) -> Sequence[Operand]:
        if node.kind == "Constant" and node.is_standard:
            # A tensor, or a list of numbers; what else there may be is refused where it is used.
            return [plain(np.asarray(value), "holds no dense numbers, and") for value in node.attributes.values()]
        signals = [operand for operand in operands if isinstance(operand, Signal)]
        if signals and node.kind in ("Shape", "Size") and node.is_standard:
            if signals[0].ending is not None and signals[0].ending.is_label:
                signals[0].ending.refuse(node.kind)
            return list(node.run([signals[0].places]))
        if signals:
            return apply(node, operands)
        if not (node.is_standard and node.kind in FOLDED):
            raise InputError(advice(node.kind))
        results = node.run([operand for operand in operands if not isinstance(operand, Signal)])
        self._rounded |= node.kind in ROUNDED and any(array.dtype.kind == "f" for array in results)
        return list(results)

    def _result(self, known: dict[str, Operand]) -> TwoLayerNetwork:
        """The network of the scores; labels beside them only name its classes."""
        found = {value.name: known.get(value.name) for value in self.graph.output}
        missing = next((name for name, value in found.items() if not isinstance(value, Signal)), None)
        if missing is not None:
            raise InputError(
                f"{self.source}: the output {missing!r} does not depend on the input; export the network again."
            )
        signals = [value for value in found.values() if isinstance(value, Signal)]
        scores = [s for s in signals if s.ending is None or not s.ending.is_label] or signals
        if any(signal.chain is not scores[0].chain for signal in signals):
            raise InputError(f"{self.source} has labels of other values than its scores; export it with these alone.")
        if len(scores) != 1 or len(found) < len(self.graph.output):
            raise InputError(
                f"{self.source} has {len(self.graph.output)} outputs; a network has one tensor of scores, so export it "
                "with that alone."
            )
        named = {signal.ending.classes for signal in signals if signal.ending is not None and signal.ending.classes}
        if len(named) > 1:
            raise InputError(f"{self.source} names the classes of its outputs in two ways; export the network again.")
        ending = scores[0].ending
        if ending is not None and ending.kind == LABELS:
            raise InputError(f"{ending.label} leaves labels alone; export the network with its scores.")
        # A shape that is known makes a layer of nodes that act on each entry alone.
        chain = scores[0].chain if self._known_shapes is None else scores[0].chain.multiplied()
        return chain.network(
            self.source,
            scores[0].places.reshape(-1),
            classes=next(iter(named), None),
            ending=None if ending is None else ending.kind,
            rounded=self._rounded,
        )
