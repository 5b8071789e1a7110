"""The operators of ONNX by name: what they do with entries, and what to do about those that certnet does not read.

How each is read says ``onnx_nodes``, and those for learned models ``onnx_learned``.
"""

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


def advice(kind: str) -> str:
    """The end of a sentence that begins with the label of a node of this kind, which certnet does not read."""
    return _BY_KIND.get(kind) or (
        f"is not among what certnet reads: affine nodes, one layer of {READ}, and Softmax, LogSoftmax, Sigmoid, Tanh "
        "or ArgMax at the end"
    )
