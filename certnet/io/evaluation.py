"""Whether evaluating an ONNX graph, node by node, is an evaluation of x ↦ V (Ux + b)₊ + b₂ as float32 semantics has it.

``certificates.float32`` bounds what rounding does to sums Ux + b and Vα + b₂ of any order. A graph that computes the
same function in other steps may round more: ``(x + 1e8) − 1e8`` is x in real numbers and 0 in float32. So each of the
two layers may hold one product, or a sum of inputs, and then one sum with constants, and besides what rounds nothing.
Entries that were copied are not multiplied by a matrix: their weights are added when the file is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_MOVES = frozenset(
    {
        *("DepthToSpace", "Flatten", "Identity", "Neg", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze"),
        *("Transpose", "Unsqueeze"),
    }
)
"""Operators that round nothing and copy nothing."""
_COPIES = frozenset({"Concat", "Expand", "Gather", "GatherElements", "GatherND", "Pad", "Tile"})
"""Operators that round nothing and may copy entries."""
_ENTRYWISE = frozenset({"Div", "Mul"})
_PRODUCTS = frozenset(
    {
        *_ENTRYWISE,
        *("AveragePool", "Conv", "ConvTranspose", "Gemm", "GlobalAveragePool", "MatMul", "ReduceMean", "ReduceSum"),
    }
)
_SUMS = frozenset({"Add", "Sub"})
_BENDS = frozenset({"Abs", "Relu"})
"""Operators that begin the next layer; they round nothing. Bounds of others would be added to biases."""
_CONSTANT = frozenset({*_MOVES, *_COPIES, "Constant", "ConstantOfShape", "Shape", "Size"})
"""Operators that make constants of constants without rounding."""
START, PRODUCT, SUM = range(3)


@dataclass(frozen=True)
class _Value:
    """How far a value has come in its layer, and whether entries may stand in it twice."""

    step: int = START
    copied: bool = False


def rounds_otherwise(graph: Any) -> str | None:
    """The first node of a GraphProto that may round where two layers do not, by kind and name; None if none does."""
    initial = {tensor.name for tensor in graph.initializer}
    known: dict[str, _Value] = {value.name: _Value() for value in graph.input if value.name not in initial}
    for node in graph.node:
        given = [known[name] for name in node.input if name in known]
        plain = node.domain in ("", "ai.onnx")
        found = _after(node, given) if given else (_Value() if node.op_type in _CONSTANT else None)
        if found is None or not plain:
            return f"{node.op_type} {node.name or ', '.join(node.output)!r}"
        if given:
            known.update(dict.fromkeys(node.output, found))
    return None


def _after(node: Any, given: Sequence[_Value]) -> _Value | None:
    """What a node makes of values that depend on the input; None where it may round in another way."""
    kind, step, copied = node.op_type, max(value.step for value in given), any(value.copied for value in given)
    if kind in _MOVES:
        return _Value(step, copied)
    if kind in _COPIES:
        return _Value(step, True)
    if kind in _BENDS and len(given) == 1:
        return _Value()
    if kind in _SUMS:
        if len(given) == 1:
            return _Value(SUM, copied) if step < SUM else None
        return _Value(PRODUCT, copied) if step == START else None
    # Factors would be part of the weights, and what underflows before them is not bounded.
    scaled = any(entry.f != 1.0 for entry in node.attribute if entry.name in ("alpha", "beta"))
    if kind in _PRODUCTS and len(given) == 1 and step == START and not scaled and (kind in _ENTRYWISE or not copied):
        biased = kind in ("Gemm", "Conv", "ConvTranspose") and len(node.input) > 2
        return _Value(SUM if biased else PRODUCT, copied)
    return None
