"""Public functions refuse what is no argument of theirs in one sentence, and never fail in another way."""

import functools
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import certnet
from certnet import InputError, InputRegion, ReluNetwork, TrainingProgram, TwoLayerNetwork
from certnet.io.network import TwoLayerNetwork as Stored

PROGRAM = TrainingProgram(np.eye(2), np.eye(2), 0.1)
NETWORK = ReluNetwork(np.eye(2), np.zeros(2), np.eye(2), np.zeros(2))
REGION = InputRegion.linf(np.zeros(2), 0.1)
CASES = certnet.keeps_class(NETWORK, REGION, 0)
ROW = np.zeros(2)

RIGHT: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "train": (certnet.train, {"program": PROGRAM}),
    "fit": (certnet.fit, {"program": PROGRAM}),
    "presolve": (certnet.presolve, {"original": PROGRAM}),
    "optimality": (certnet.optimality, {"model": PROGRAM, "X": np.eye(2), "y": np.eye(2)}),
    "train_path": (certnet.train_path, {"X": np.eye(2), "Y": np.eye(2), "gammas": [0.1]}),
    "verify": (certnet.verify, {"network": NETWORK, "cases": CASES}),
    "certified_radius": (
        certnet.certified_radius,
        {"network": NETWORK, "x": ROW, "label": 0, "norm": "linf", "largest": 1.0},
    ),
    "audit": (certnet.audit, {"network": NETWORK, "X": np.eye(2), "labels": [0, 1], "norm": "linf", "radii": [0.1]}),
    "lipschitz_constant": (certnet.lipschitz_constant, {"network": NETWORK, "C": np.eye(2)}),
    "output_range": (certnet.output_range, {"network": NETWORK, "region": REGION, "C": np.eye(2)}),
    "monotonicity": (certnet.monotonicity, {"network": NETWORK, "region": REGION, "feature": 0, "output": 0}),
    "keeps_class": (certnet.keeps_class, {"network": NETWORK, "region": REGION, "label": 0}),
    "TrainingProgram": (
        functools.partial(TrainingProgram, np.eye(2), np.eye(2)),
        {"gamma": 0.1, "loss": "squared", "sample_weight": ROW + 1, "hidden_bias": "none", "output_bias": "none"},
    ),
    "TrainingProgram of data": (functools.partial(TrainingProgram, gamma=0.1), {"X": np.eye(2), "Y": np.eye(2)}),
    "LiftedSpace": (certnet.LiftedSpace, {"generators": np.eye(2), "outputs": 0}),
    "TwoLayerNetwork": (TwoLayerNetwork, {"network": NETWORK}),
    "ReluNetwork": (
        ReluNetwork,
        {"hidden": np.eye(2), "hidden_bias": ROW, "output": np.eye(2), "output_bias": ROW},
    ),
    "InputRegion": (InputRegion, {"lower": ROW, "upper": ROW}),
    "linf": (InputRegion.linf, {"centre": ROW, "radius": 0.1}),
    "l2": (InputRegion.l2, {"centre": ROW, "radius": 0.1}),
    "UnsafeCase": (certnet.UnsafeCase, {"region": REGION, "H": np.eye(2), "h": ROW}),
    "check": (certnet.check, {"certificate": None}),
    "write_certificate": (certnet.write_certificate, {"path": "a.cert", "certificate": None}),
    "write_onnx": (certnet.write_onnx, {"path": "a.onnx", "network": NETWORK}),
    "repair": (certnet.repair, {"program": None, "dual": None}),
    "solve": (certnet.solve, {"program": None}),
    "objective_of": (
        functools.partial(certnet.objective_of, loss="squared", gamma=1.0),
        {"model": Stored(NETWORK), "X": np.eye(2), "y": np.eye(2)},
    ),
    "network_from_sklearn": (certnet.network_from_sklearn, {"model": None}),
    "network_from_torch": (certnet.network_from_torch, {"module": None}),
    **{
        name: (getattr(certnet, name), {"path": "absent"})
        for name in ("read_certificate", "read_network", "read_relu_network", "read_run", "read_runs", "read_vnnlib")
    },
}
"""Calls that are right but for a None, each with the arguments that are replaced one at a time."""


class Estimator:
    """Like an object of a library that certnet does not know."""


WRONG: tuple[Any, ...] = (
    *(Estimator(), "iris", b"x", {}, [[1.0], [2.0, 3.0]], np.array(["a", "b"]), float("nan"), -1),
    *(PROGRAM, REGION, Stored(NETWORK)),
)


@pytest.mark.parametrize("name", RIGHT)
def test_a_wrong_argument_is_an_input_error(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    function, arguments = RIGHT[name]
    for (argument, right), value in product(arguments.items(), WRONG):
        if type(value) is type(right) and not isinstance(value, float):
            continue
        with pytest.raises(InputError) as caught:
            function(**{**arguments, argument: value})
        message = str(caught.value)
        assert "\n" not in message, (argument, value, message)
        assert message.endswith("."), (argument, value, message)
    assert not list(tmp_path.iterdir())


NUMBERS = {"time_limit": ("1", True, -1.0, float("nan"), float("inf"), [1]), "random_state": ("0", 0.5, -1, True)}


@pytest.mark.parametrize(
    "name", ["train", "fit", "optimality", "train_path", "verify", "certified_radius", "audit", "lipschitz_constant"]
)
def test_numbers_of_options(name: str) -> None:
    function, arguments = RIGHT[name]
    for option, values in NUMBERS.items():
        for value in values:
            with pytest.raises(InputError, match=option):
                function(**arguments, **{option: value})


@pytest.mark.parametrize(
    "name", ["train", "optimality", "train_path", "verify", "certified_radius", "lipschitz_constant"]
)
def test_what_travels_with_a_certificate_can_be_written(name: str) -> None:
    """Else it is found when the work is done and the file is written."""
    function, arguments = RIGHT[name]
    for wrong in (5, "text", [1], {1: Estimator()}, {"a": float("nan")}, {"a": {1, 2}}):
        with pytest.raises(InputError, match="provenance must be a dictionary that JSON can hold"):
            function(**arguments, provenance=wrong)


@pytest.mark.parametrize(
    ("name", "option", "wrong"),
    [
        ("certified_radius", "tolerance", (None, 0.0, -1.0, float("nan"), float("inf"), "1", [1.0])),
        ("audit", "workers", (None, 0, -1, 1.5, float("inf"), "2", [2], True)),
        ("audit", "known", (5, "text", [1], np.eye(2))),
        ("audit", "provenance", (5, {1: Estimator()})),
        ("read_vnnlib", "network", (5, "text", CASES)),
        *(("train", name, ("a", [], {}, 1j, print)) for name in ("tolerance", "gap", "max_nodes", "workers")),
        *(("train", name, (5, [], {}, b"x")) for name in ("solver", "device", "progress")),
        ("train", "tolerance", (float("nan"),)),
        ("fit", "start", ("a", 5, [], {}, (np.eye(2), "a"), (np.eye(2),))),
        ("fit", "max_rounds", ("a", 1.5, [])),
        *(("fit", name, ("a", 5)) for name in ("callback", "better")),
        ("presolve", "kept", ("a", [], 5)),
        ("verify", "progress", ("a", 5)),
        ("audit", "scheduler", (5, [])),
        ("train_path", "resume", ("a", 5, [])),
        ("TwoLayerNetwork", "classes", (5, "ab", {})),
        ("TwoLayerNetwork", "columns", (5, "ab", ["a", "b"])),
    ],
)
def test_other_options(name: str, option: str, wrong: tuple[Any, ...]) -> None:
    function, arguments = RIGHT[name]
    for value in wrong:
        with pytest.raises(InputError, match=option):
            function(**{**arguments, option: value})


def test_numbers_of_solve_and_repair() -> None:
    presolved = certnet.presolve(PROGRAM)
    assert presolved is not None
    program = presolved.program
    for name in ("tolerance", "max_iterations", "solver", "callback", "warm_start"):
        with pytest.raises(InputError, match=name):
            certnet.solve(program, **{name: [1]})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="tolerance must be a number, not 'a'"):
        certnet.solve(program, tolerance="a")  # type: ignore[arg-type]
    dual = certnet.solve(program).dual
    with pytest.raises(InputError, match="margin"):
        certnet.repair(program, dual, margin="a")  # type: ignore[arg-type]


def test_the_sentence_names_the_right_call() -> None:
    from sklearn.neural_network import MLPClassifier

    for call in (
        lambda model: certnet.verify(model, CASES),
        lambda model: certnet.audit(model, np.eye(2), [0, 1], norm="linf", radii=[0.1]),
    ):
        with pytest.raises(InputError, match=r"network_from_sklearn.*certnet\.(verify|audit)\(network"):
            call(MLPClassifier())
    with pytest.raises(InputError, match=r"TrainingProgram\(X, Y, gamma\)"):
        certnet.train(np.eye(2))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"keeps_class\(network, region, label\)"):
        certnet.keeps_class(REGION, NETWORK, 0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="read_relu_network"):
        certnet.write_onnx("a.onnx", Stored(NETWORK))  # type: ignore[arg-type]


def test_data_in_the_place_of_a_program_are_told_what_to_become() -> None:
    with pytest.raises(InputError, match=r"make one with certnet\.TrainingProgram\(X, Y, gamma\)"):
        certnet.train(np.eye(2), np.eye(2))
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        certnet.train()
    with pytest.raises(TypeError, match="takes 1 positional argument but 2 were given"):
        certnet.train(PROGRAM, 1.0)


def test_one_row_as_a_vector_is_called_so() -> None:
    with pytest.raises(InputError, match="X is a vector where 2 columns are expected"):
        Stored(NETWORK).predict_class(ROW + 1)
