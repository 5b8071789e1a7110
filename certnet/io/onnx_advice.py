"""What to do about a node of an ONNX graph that certnet does not read."""

from certnet.io.onnx_reference import Node

READ = "ReLU, LeakyRelu, PRelu, Abs, Clip, Max or Min"
_KINDS = {
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
_BY_KIND = {kind: words for kinds, words in _KINDS.items() for kind in kinds.split()}


def advice(node: Node) -> str:
    """The end of a sentence that begins with the node's label."""
    return _BY_KIND.get(node.kind, "") or (
        f"is not among what certnet reads: affine nodes, one layer of {READ}, and Softmax, LogSoftmax, Sigmoid, Tanh "
        "or ArgMax at the end"
    )
