"""The one network class: two layers with a ReLU between them, as the programs and the certificates see it."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike

from formulations._validation import FloatArray, as_array
from formulations.errors import InputError
from formulations.rounding import exact_array

LEFT_OUT = (
    "The file's network ends in {ending}; what is proved is about the outputs before it, which {ending} keeps in order."
)


@dataclass(frozen=True, eq=False, repr=False)
class ReluNetwork:
    """f(x) = V (U x + b)₊ + b₂.

    Attributes:
        hidden: (m, d) U, one row for each neuron.
        hidden_bias: (m,) b.
        output: (c, m) V.
        output_bias: (c,) b₂.
        note: a sentence where rounding made these numbers of those in a file or model, else None.
        off: where rounding made these numbers and it is known, by how much at most hidden, hidden_bias, output and
            output_bias of the file or model differ from them in any entry; else None.
        ending: the function that the file or model applies to these outputs, such as Softmax, or None.

    Raises:
        InputError: shapes that disagree, or entries that are not finite.
    """

    hidden: FloatArray
    hidden_bias: FloatArray
    output: FloatArray
    output_bias: FloatArray
    note: str | None = field(default=None, init=False, repr=False)
    ending: str | None = field(default=None, init=False, repr=False)
    off: tuple[float, float, float, float] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        for name, dimensions in (("hidden", 2), ("hidden_bias", 1), ("output", 2), ("output_bias", 1)):
            object.__setattr__(self, name, exact_array(f"the network's {name}", getattr(self, name), dimensions))
        (m, d), c = self.hidden.shape, len(self.output)
        if self.hidden_bias.shape != (m,) or self.output.shape != (c, m) or self.output_bias.shape != (c,):
            raise InputError(
                f"the network has hidden weights of shape {(m, d)}, hidden biases {self.hidden_bias.shape}, output "
                f"weights {self.output.shape} and output biases {self.output_bias.shape}, which do not fit together."
            )
        if d == 0 or c == 0:
            raise InputError("a network needs at least one input and one output.")

    def told(
        self, note: str | None, ending: str | None, off: tuple[float, float, float, float] | None = None
    ) -> "ReluNetwork":
        """The same network with this note, ending and bound of rounding."""
        told = replace(self)
        for name, value in (("note", note), ("ending", ending), ("off", off)):
            object.__setattr__(told, name, value)
        return told

    def as_of(self, other: "ReluNetwork") -> "ReluNetwork":
        """The same network with what is told of the other one, of whose numbers it consists."""
        return self.told(other.note, other.ending, other.off)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on how these numbers were made of those in a file or model, and on what is left out of it."""
        left_out = None if self.ending is None else LEFT_OUT.format(ending=self.ending)
        return tuple(sentence for sentence in (self.note, left_out) if sentence is not None)

    @classmethod
    def of_program(
        cls, U: ArrayLike, V: ArrayLike, output_bias: ArrayLike | None = None, *, hidden_bias: bool = False
    ) -> "ReluNetwork":
        """The network of a training program's U (d×m), V (c×m) and output bias (c,), zeros by default.

        With ``hidden_bias`` the last row of U holds the hidden biases.
        """
        hidden, output = as_array("U", U), exact_array("V", V, 2)
        if hidden.ndim != 2 or len(hidden) <= hidden_bias:
            raise InputError(f"U must have a row for each feature{' and one for the bias' if hidden_bias else ''}.")
        bias = hidden[-1] if hidden_bias else np.zeros(hidden.shape[1])
        last = np.zeros(len(output)) if output_bias is None else as_array("the output bias", output_bias)
        return cls(hidden[: len(hidden) - hidden_bias].T, bias, output, last)

    def program_weights(self, *, hidden_bias: bool) -> tuple[FloatArray, FloatArray, FloatArray]:
        """U (d×m), V (c×m) and output bias (c,) of a training program; with ``hidden_bias`` U's last row is b, and
        without it a network that has hidden biases is refused."""
        if not hidden_bias and self.hidden_bias.any():
            raise InputError(
                "The network has hidden biases, but the training problem has none; choose hidden_bias (--hidden-bias) "
                "penalised or free."
            )
        return np.ascontiguousarray((self.generators if hidden_bias else self.hidden).T), self.output, self.output_bias

    def __repr__(self) -> str:
        return f"ReluNetwork(inputs: {self.inputs}, neurons: {self.width}, outputs: {self.outputs})"

    @property
    def inputs(self) -> int:
        """d."""
        return int(self.hidden.shape[1])

    @property
    def outputs(self) -> int:
        """c."""
        return len(self.output)

    @property
    def width(self) -> int:
        """m."""
        return len(self.hidden)

    @property
    def generators(self) -> FloatArray:
        """A = [U b], m×(d+1)."""
        return np.hstack([self.hidden, self.hidden_bias[:, None]])

    def __call__(self, X: FloatArray) -> FloatArray:
        """Outputs n×c of inputs n×d, in floating point."""
        return np.asarray(np.maximum(X @ self.hidden.T + self.hidden_bias, 0.0) @ self.output.T + self.output_bias)
