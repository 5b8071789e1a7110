"""Properties of outputs after Softmax and its like are decided as those of the outputs before."""

from fractions import Fraction

import numpy as np
import pytest

from certificates import Verdict
from certnet.io.endings import after_ending, before_ending
from certnet.jobs.verify import verify
from formulations import InputError
from formulations.network import ReluNetwork
from tests.verification.problems import parse_vnnlib

RANDOM = np.random.default_rng(0)
COMPARED = {"<=": np.less_equal, ">=": np.greater_equal, "<": np.less, ">": np.greater}


def network(ending: str, outputs: int) -> ReluNetwork:
    hidden, bias = RANDOM.normal(size=(4, 2)), RANDOM.normal(size=4)
    output, last = RANDOM.normal(size=(outputs, 4)), 0.3 * RANDOM.normal(size=outputs)
    return ReluNetwork(hidden, bias, output, last).told(None, ending)


def text(outputs: int, *assertions: str) -> str:
    names = [*(f"X_{i}" for i in range(2)), *(f"Y_{j}" for j in range(outputs))]
    bounds = [f"({compare} X_{i} {side})" for i in range(2) for compare, side in (("<=", 0.5), (">=", -0.5))]
    return "\n".join(
        [*(f"(declare-const {name} Real)" for name in names), *(f"(assert {one})" for one in (*bounds, *assertions))]
    )


CASES = [
    ("Softmax", 3, "{} Y_0 Y_2"),
    ("Softmax", 2, "{} Y_1 0.4"),
    ("Softmax", 1, "{} Y_0 1"),
    ("LogSoftmax", 3, "{} Y_1 Y_0"),
    ("LogSoftmax", 3, "{} (- Y_1 Y_0) 0.25"),
    ("LogSoftmax", 2, "{} Y_1 0"),
    ("Sigmoid", 1, "{} Y_0 0.5"),
    ("Sigmoid", 2, "{} Y_1 0.7"),
    ("Sigmoid", 2, "{} Y_1 1.5"),
    ("Sigmoid", 2, "{} Y_1 Y_0"),
    ("Tanh", 1, "{} Y_0 -0.3"),
    ("Tanh", 2, "{} Y_0 -1"),
    ("ArgMax", 3, "{} Y_0 1"),
    ("ArgMax", 3, "{} (* 2 Y_0) 3"),
]


@pytest.mark.parametrize("compare", COMPARED)
@pytest.mark.parametrize(("ending", "outputs", "row"), CASES)
def test_the_verdict_is_about_the_outputs_after(ending: str, outputs: int, row: str, compare: str) -> None:
    net = network(ending, outputs)
    found = parse_vnnlib(text(1 if ending == "ArgMax" else outputs, f"({row.format(compare)})"), net)
    result = verify(found.network, found.cases, time_limit=20)

    def unsafe(scores: np.ndarray, room: float) -> bool:
        Y = dict(enumerate(after_ending(ending, scores)))
        left, right = {
            "{} Y_0 Y_2": lambda: (Y[0], Y[2]),
            "{} Y_1 Y_0": lambda: (Y[1], Y[0]),
            "{} (- Y_1 Y_0) 0.25": lambda: (Y[1] - Y[0], 0.25),
            "{} (* 2 Y_0) 3": lambda: (2 * Y[0], 3.0),
        }.get(row, lambda: (Y[int(row.split("_")[1][0])], float(row.split()[-1])))()
        return bool(COMPARED[compare](left, right + (room if compare[0] == "<" else -room)))

    if result.verdict is Verdict.REFUTED:
        assert unsafe(result.counterexample.y, 1e-12)
    else:
        assert result.verdict is Verdict.PROVED
        assert not any(unsafe(scores, -1e-12) for scores in net(RANDOM.uniform(-0.5, 0.5, size=(300, 2))))


def test_thresholds_are_enclosed() -> None:
    ((row,),) = before_ending(_rows(("Sigmoid", 1, "<= Y_0 0.7")), "Sigmoid", 1)
    exact = np.log(7.0) - np.log(3.0)
    assert 0 < row.slack < Fraction(1, 2**200)
    assert float(-row.constant) == pytest.approx(exact, rel=1e-15)
    # Counterexamples have to lie below the threshold, and proofs hold up to above it.
    assert row.constant - row.slack < row.constant
    ((half,),) = before_ending(_rows(("Sigmoid", 1, "<= Y_0 0.5")), "Sigmoid", 1)
    assert (half.constant, half.slack) == (0, 0)


def _rows(case: tuple[str, int, str]) -> list:
    from certnet.io.clauses import clauses

    words = case[2].split()
    return clauses(words, {"X": set(), "Y": set(range(case[1]))})


@pytest.mark.parametrize(
    ("ending", "row"), [("Softmax", "(<= Y_0 0.3)"), ("Sigmoid", "(<= (+ Y_0 Y_1) 1.5)"), ("Tanh", "(<= Y_0 X_0)")]
)
def test_what_has_no_rows_before_is_refused(ending: str, row: str) -> None:
    with pytest.raises(InputError, match=f"(ends in|after) {ending}"):
        parse_vnnlib(text(3, row), network(ending, 3))


def test_one_output_after_sigmoid_stands_for_two_classes() -> None:
    from certnet.io.answers import answers
    from certnet.io.network import TwoLayerNetwork

    read = TwoLayerNetwork(network("Sigmoid", 1))
    X = RANDOM.normal(size=(20, 2))
    chances = np.array(answers(read, None, X)["output 0"])
    np.testing.assert_array_equal(chances > 0.5, read.with_scores()(X).argmax(axis=1) == 1)
    np.testing.assert_allclose(chances, 1.0 / (1.0 + np.exp(-read.predict(X)[:, 0])), rtol=1e-12)
    assert not TwoLayerNetwork(network("Tanh", 1)).is_binary


def test_probabilities_of_classes_are_those_of_the_file() -> None:
    from certnet.io.answers import answers
    from certnet.io.network import TwoLayerNetwork

    found = answers(TwoLayerNetwork(network("Softmax", 3), classes=("a", "b", "c")), None, RANDOM.normal(size=(5, 2)))
    chances = np.array([found[f"p({name})"] for name in "abc"])
    np.testing.assert_allclose(chances.sum(axis=0), 1.0, rtol=1e-12)
    assert ["abc"[k] for k in chances.argmax(axis=0)] == found["prediction"]
