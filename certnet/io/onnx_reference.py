"""One node of an ONNX graph: its attributes as its opset means them, and what it computes by the reference of ``onnx``.

The reference evaluates single nodes of kinds that the reader names, never a graph; how large a result will be is known
before, by the standard's shape inference.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from certnet.io.packed import Array, Tensors, part_of_onnx, plain
from formulations import InputError

ELEMENTS = {1: "float32", 10: "float16", 11: "float64", 16: "bfloat16"}
"""Types of numbers as TensorProto.DataType numbers them, and what VNN-LIB calls them."""
ENDS = ("ArgMax", "LogSoftmax", "Sigmoid", "Softmax", "Tanh")
"""Functions at the end of a network that keep the order of its outputs."""
PLACED, COPIED, MEANS, _EXACT, ROUNDED = (
    frozenset(names.split())
    for names in (
        # They move entries: each to one place at most, or to several.
        "DepthToSpace Flatten Identity Reshape Slice SpaceToDepth Split Squeeze Transpose Unsqueeze",
        "Concat Expand Gather GatherElements GatherND Tile",
        # They are linear in their first operand, with weights 1/n.
        "AveragePool GlobalAveragePool ReduceMean",
        # They are evaluated in float64 where all they take is constant: without rounding, and with it.
        "Abs And Cast Ceil Clip ConstantOfShape Equal Floor Greater GreaterOrEqual Less LessOrEqual Max Min Neg Not Or "
        "Relu Shape Sign Size Where",
        "Add CumSum Div Exp Gemm Log MatMul Mean Mod Mul Pow Range Reciprocal ReduceMean ReduceProd ReduceSum Sqrt Sub "
        "Sum",
    )
)
MOVES = PLACED | COPIED
LINEAR = MEANS | {"Conv", "ConvTranspose", "Pad", "ReduceSum"}
FOLDED = MOVES | _EXACT | ROUNDED
READ = "ReLU, LeakyRelu, PRelu, Abs, Clip, Max or Min"
_ADVICE = {
    "Celu Elu Erf Exp Gelu HardSwish Log Mish Selu Sin Cos Softplus Softsign Swish Sqrt Pow": (
        f"is curved; certnet proves networks whose hidden layer has {READ}, so train one with these"
    ),
    "MaxPool GlobalMaxPool LpPool ReduceMax ReduceMin ReduceL2 TopK": (
        "takes the largest of several computed values, or a norm of them; replace it by an average or a layer"
    ),
    "LSTM GRU RNN": "is recurrent; certnet reads feed-forward networks with one hidden layer",
    "If Loop Scan": "is control flow; export the network by tracing it with a fixed input shape",
    "QuantizeLinear DequantizeLinear DynamicQuantizeLinear QLinearConv QLinearMatMul ConvInteger MatMulInteger": (
        "is quantised; export the network before it is quantised"
    ),
    "LayerNormalization InstanceNormalization GroupNormalization RMSNormalization LpNormalization": (
        "normalises by the data point's own values, which no ReLU network does; take a batch normalisation instead"
    ),
    "Attention MultiHeadAttention Einsum": "multiplies computed values; certnet reads affine layers and one of ReLUs",
    "Greater GreaterOrEqual Less LessOrEqual Equal Where Not And Or Sign Floor Ceil Round ThresholdedRelu": (
        "jumps or chooses by computed values; certnet proves continuous networks of ReLUs"
    ),
    "RandomNormal RandomUniform RandomNormalLike RandomUniformLike Bernoulli Multinomial": (
        "is random; export the network in evaluation mode"
    ),
    "Normalizer OneHotEncoder LabelEncoder FeatureVectorizer DictVectorizer": (
        "is a step before the network that is not affine; apply it to the data, and export what follows"
    ),
    "TreeEnsembleClassifier TreeEnsembleRegressor TreeEnsemble SVMClassifier SVMRegressor": (
        "is another model than a network"
    ),
}
_BY_KIND = {kind: words for kinds, words in _ADVICE.items() for kind in kinds.split()}
LARGEST_RESULT = 2**27
"""Most entries of what a node computes."""
_STANDARD = ("", "ai.onnx")
OLDEST = 7
"""The first opset in which constants are broadcast as NumPy does."""
_SMALL = 2**16
"""Entries up to which numbers of a tensor may be shapes, which shape inference looks at."""
_FIELDS = "f i s t g floats ints strings tensors graphs sparse_tensor sparse_tensors tp type_protos"
"""Fields of an AttributeProto, in the order of the types that they hold."""


@dataclass(frozen=True, eq=False)
class Node:
    """A node of a kind that its opset has, with the right numbers of inputs and outputs.

    Attributes:
        proto: as the file holds it; ``label`` is how complaints name it, and ``schema`` that of its operator.
        inputs: names, empty for one that is left out, none of these last.
        attributes: by name, with the opset's defaults; tensors are arrays and texts are strings.
    """

    proto: Any
    label: str
    kind: str
    inputs: Sequence[str]
    attributes: Mapping[str, Any]
    schema: Any
    version: int

    @property
    def is_standard(self) -> bool:
        return self.proto.domain in _STANDARD

    def run(self, operands: Sequence[Array | None]) -> list[Array]:
        """The outputs for these inputs, None where one is left out."""
        import onnx
        from onnx.reference import ReferenceEvaluator

        names = [f"input{k}" if operand is not None else "" for k, operand in enumerate(operands)]
        given = {name: operand for name, operand in zip(names, operands, strict=True) if operand is not None}
        copy = onnx.NodeProto()
        copy.CopyFrom(self.proto)
        copy.ClearField("input")
        copy.ClearField("domain")
        copy.input.extend(names)
        try:
            sizes = self._sizes(onnx, copy, given)
            ends = [[onnx.ValueInfoProto(name=name) for name in part] for part in (given, copy.output)]
            graph = onnx.helper.make_graph([copy], "node", *ends)
            with np.errstate(all="ignore"):
                found = ReferenceEvaluator(graph, opsets={"": self.version}).run(None, given)
        except InputError:
            raise
        except Exception as error:  # noqa: BLE001  # The reference raises whatever NumPy raises.
            reason = " ".join(str(error).split())[:120]
            raise InputError(f"cannot act on what comes in ({reason or type(error).__name__})") from None
        if [np.shape(array) for array in found] != sizes:
            # The reference has another idea of the operator than the standard, as of Slice where all of it is left out.
            raise InputError(f"makes results of sizes {sizes}, which the onnx package computes otherwise")
        return [plain(np.asarray(array), "a result") for array in found]

    def _sizes(self, onnx: Any, copy: Any, given: Mapping[str, Array]) -> list[tuple[int, ...]]:
        make, sizes = onnx.helper, []
        types = {
            name: make.make_tensor_type_proto(make.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in given.items()
        }
        data = {n: onnx.numpy_helper.from_array(a, n) for n, a in given.items() if a.size <= _SMALL and a.ndim <= 1}
        outputs = onnx.shape_inference.infer_node_outputs(
            self.schema, copy, types, data, opset_imports=[make.make_opsetid("", self.version)], ir_version=8
        )
        for name in copy.output:
            dimensions = outputs[name].tensor_type.shape.dim if name in outputs else None
            if dimensions is None or any(not entry.HasField("dim_value") for entry in dimensions):
                raise InputError("makes a result of unknown size; export the network with fixed shapes")
            sizes.append(tuple(entry.dim_value for entry in dimensions))
            if math.prod(sizes[-1]) > LARGEST_RESULT:
                raise InputError(f"makes a result of more than {LARGEST_RESULT} entries")
        return sizes


def advice(kind: str) -> str:
    """The end of a sentence that begins with the label of a node of this kind, which certnet does not read."""
    return _BY_KIND.get(kind) or (
        f"is not among what certnet reads: affine nodes, one layer of {READ}, and Softmax, LogSoftmax, Sigmoid, Tanh "
        "or ArgMax at the end"
    )


class Opsets:
    """The operators that a file may use; refused are opsets that this reader or the onnx package does not know."""

    def __init__(self, source: str, model: Any, tensors: Tensors) -> None:
        self._source, self._tensors, self._schemas = source, tensors, part_of_onnx("onnx_cpp2py_export").defs
        self._versions: dict[str, int] = {}
        self._functions = {("" if f.domain in _STANDARD else f.domain, f.name) for f in model.functions}
        for entry in model.opset_import:
            domain = "" if entry.domain in _STANDARD else entry.domain
            if self._versions.setdefault(domain, entry.version) != entry.version:
                raise InputError(f"{source} names two versions of the operators {domain!r}; export the network again.")
        version, newest = self._versions.get("", 0), self._schemas.schema_version_map()[""][1]
        if not OLDEST <= version <= newest:
            raise InputError(
                f"{source} has opset {version}, but certnet reads {OLDEST} to {newest}; convert the file with "
                "onnx.version_converter, or update the onnx package."
            )

    def node(self, proto: Any) -> Node:
        """The node, its attributes and counts of inputs and outputs as the standard has them."""
        name = next((part for part in (proto.name, *proto.output) if part), "")
        label = f"{self._source}: node {name!r}, {proto.op_type},"
        domain = "" if proto.domain in _STANDARD else proto.domain
        version = self._versions.get(domain, 0)
        if (domain, proto.op_type) in self._functions:
            raise InputError(f"{label} is a function of the file's own; put in its nodes with onnx.inliner.")
        try:
            schema = self._schemas.get_schema(proto.op_type, version, domain)
        except Exception:  # noqa: BLE001  # A class of the extension module, which has no public name.
            raise InputError(
                f"{label} is no operator of {domain or 'ONNX'} {version or '(which the file does not name)'}; export "
                "the network with ONNX's own operators."
            ) from None
        inputs = list(proto.input)
        while inputs and not inputs[-1]:
            inputs.pop()
        for count, least, most, word in (
            (len(inputs), schema.min_input, schema.max_input, "inputs"),
            (len(proto.output), schema.min_output, schema.max_output, "outputs"),
        ):
            if not least <= count <= most:
                raise InputError(f"{label} has {count} {word} where {least} are expected; export the network again.")
        known, names = schema.attributes, [entry.name for entry in proto.attribute]
        decode = part_of_onnx("onnx_ml_pb2").AttributeProto.FromString
        # Its default value, decoded, is a property that the whole package adds.
        defaults = (decode(entry._default_value) for entry in known.values())
        attributes = {entry.name: self._value(entry) for entry in defaults if entry.name}
        for entry in proto.attribute:
            fitting = entry.name in known and entry.type == int(known[entry.name].type) and not entry.ref_attr_name
            if not fitting or names.count(entry.name) > 1:
                raise InputError(
                    f"{label} has an attribute {entry.name!r} that it must not have; export the network again."
                )
            attributes[entry.name] = self._value(entry)
        absent = next((name for name, entry in known.items() if entry.required and name not in names), None)
        if absent is not None:
            raise InputError(f"{label} lacks the attribute {absent!r}; export the network again.")
        return Node(proto, label, proto.op_type, inputs, attributes, schema, version)

    def _value(self, entry: Any) -> Any:
        field = _FIELDS.split()[entry.type - 1]
        value = getattr(entry, field)
        if field == "t":
            return self._tensors.array(value)
        if field == "s":
            return value.decode(errors="replace")
        return list(value) if field.endswith("s") else value
