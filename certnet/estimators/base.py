"""What both estimators have in common: options, training, proofs, and networks for other tools."""

import math
import sys
import warnings
from abc import abstractmethod
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from certificates.failure import Deadline
from certnet.io.export import write_onnx
from certnet.jobs import selection
from certnet.jobs.optimality import optimality
from certnet.jobs.results import Certified
from certnet.jobs.train import train
from certnet.runtime.machine import needed
from certnet.training.quick import quick_network
from formulations import InputError, TrainingProgram
from formulations._validation import FloatArray, shown
from formulations.network import ReluNetwork

AUTO = "auto"
Problem = tuple[FloatArray, FloatArray, FloatArray]
"""X (n×d), Y (n×c) as the loss takes it, and weights (n,) of the rows."""


@dataclass(eq=False, repr=False)
class CertifiedMLP(BaseEstimator):  # type: ignore[misc]
    """What both estimators have in common."""

    alpha: float | str = AUTO
    _: KW_ONLY
    loss: str = AUTO
    hidden_bias: str = "free"
    output_bias: str = "free"
    gap: float = 1e-2
    time_limit: float | None = 60.0
    certify: bool = True
    random_state: Any = None
    warm_start: bool = False
    verbose: bool = False

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train on X (n×d) and labels or targets y, with weights (n,) of the rows.

        Raises:
            InputError: a ValueError: options or data that cannot be used.
        """
        data, targets, loss, weight = self._read(X, y, sample_weight, reset=True)
        problem = distinct_rows(data, targets, weight)
        how, left, known = self._how(), self.time_limit, None
        for name in ("certificate_", "report_", "lower_bound_", "gap_"):
            if hasattr(self, name):
                delattr(self, name)
        alpha: Any = self.alpha
        if isinstance(alpha, str) and alpha == AUTO:
            X, Y, weight = problem
            limit = None if left is None else selection.SHARE * left
            chosen = selection.select_gamma(X, Y, time_limit=limit, **self._options(loss, weight), **how)
            alpha, left = chosen.gamma, None if left is None else max(left - chosen.seconds, 0.0)
            known = chosen.network
        program = self._program(problem, loss, alpha)
        start = self._start(program)
        if self.certify:
            # A quick fit does without: its random neurons end 0.3 % lower (200 rows of wine and of breast cancer).
            starts = [network for network in (start, known) if network is not None]
            start = min(starts, key=lambda network: program.objective(*network), default=None)
            result = train(program, method="global", gap=self.gap, time_limit=left, start_network=start, **how)
            proof = result.certificate.proofs[0]
            U, V, a = proof.U, proof.V, proof.output
        else:
            U, V = quick_network(program, start, how["random_state"], Deadline.after(left))
            a = program.output(U, V)
        self.alpha_, self.loss_name_ = program.gamma, loss
        self.network_ = ReluNetwork.of_program(U, V, a, hidden_bias=program.has_ones)
        self.objective_ = program.objective(U, V, a)
        if self.certify:
            if result.interrupted:
                warnings.warn("Training was interrupted; the network is the best until then.", stacklevel=2)
            self._keep(result, self.gap)
        return self

    def _how(self) -> dict[str, Any]:
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        progress = (lambda event: sys.stdout.write(f"{event}\n")) if self.verbose else None
        return {"random_state": seed, "progress": progress}

    def _options(self, loss: str, weight: FloatArray) -> dict[str, Any]:
        """Of a training program, besides data and decay."""
        own = {name: getattr(self, name) for name in ("hidden_bias", "output_bias")}
        return {"loss": loss, "sample_weight": weight, **own}

    def _program(self, problem: Problem, loss: str, alpha: Any) -> TrainingProgram:
        if isinstance(alpha, str):
            raise InputError(f'alpha must be a positive number or "auto", not {shown(alpha)}.')
        X, Y, weight = problem
        return TrainingProgram(X, Y, alpha, **self._options(loss, weight))

    @abstractmethod
    def _read(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, *, reset: bool
    ) -> tuple[FloatArray, FloatArray, str, FloatArray]:
        """X, targets as the loss takes them, the loss by name, and weights of the rows; ``reset`` in a fit."""

    @property
    def _fewest_rows(self) -> int:
        """What ``fit`` needs: validation sets a row apart."""
        return 2 if self.alpha == AUTO else 1

    def _start(self, program: TrainingProgram) -> tuple[FloatArray, FloatArray] | None:
        """The weights of the last fit, where they fit the program and a warm start is asked for."""
        network = getattr(self, "network_", None)
        if not self.warm_start or network is None:
            return None
        _, d, c = program.shape
        d -= program.has_ones
        if (network.inputs, network.outputs) != (d, c):
            raise InputError(
                f"The last fit had {network.inputs} features and {network.outputs} outputs, these data have {d} and "
                f"{c}; set warm_start=False."
            )
        if not program.has_ones and network.hidden_bias.any():
            return None
        return network.program_weights(hidden_bias=program.has_ones)[:2]  # type: ignore[no-any-return]

    def prove(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        gap: float | None = None,
        time_limit: float | None = None,
    ) -> Self:
        """Prove a bound for the network that ``fit`` found, which stays as it is, and keep the certificate.

        The estimator does not keep its data, so give those of ``fit``. ``gap`` and ``time_limit`` are the estimator's
        by default.

        Raises:
            InputError: other data or parameters than those of ``fit``.
        """
        check_is_fitted(self)
        data, targets, loss, weight = self._read(X, y, sample_weight, reset=False)
        alpha: Any = self.alpha
        alpha = self.alpha_ if isinstance(alpha, str) and alpha == AUTO else alpha
        program = self._program(distinct_rows(data, targets, weight), loss, alpha)
        U, V, a = self.network_.program_weights(hidden_bias=program.has_ones)
        objective = program.objective(U, V, a)
        if not abs(objective - self.objective_) <= 1e-9 * max(abs(objective), abs(self.objective_)):
            raise InputError(
                f"The network has an objective of {objective:.9g} on these data and had {self.objective_:.9g} when it "
                "was fitted; give the same rows and weights, and leave the parameters as they were."
            )
        gap, time_limit = self.gap if gap is None else gap, self.time_limit if time_limit is None else time_limit
        self._keep(optimality(program, U, V, a, gap=gap, time_limit=time_limit, **self._how()), gap)
        return self

    def _keep(self, found: Certified, gap: float) -> None:
        self.certificate_, self.report_ = found.certificate, found.report
        report = found.report
        self.objective_, self.lower_bound_, self.gap_ = report.objective, report.lower_bound, report.gap
        if not self.gap_ <= gap:
            proved = f"is {self.gap_:.2%}" if math.isfinite(self.gap_) else "is unknown"
            warnings.warn(
                f"The proved gap {proved}, where {gap:.2%} was asked for; raise time_limit or alpha.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _outputs(self, X: ArrayLike) -> FloatArray:
        """(n, c) outputs of the network before any link function."""
        check_is_fitted(self)
        return np.asarray(self.network_(validate_data(self, X, reset=False, dtype=np.float64)))

    def to_torch(self) -> Any:
        """The network as ``torch.nn.Sequential(Linear, ReLU, Linear)`` in float64, without softmax or other links.

        Its outputs are those of ``network_``: one for each target, or for each class in the order of ``classes_``; with
        logistic and hinge losses a single one, positive for the second class.

        Raises:
            InputError: torch is missing.
        """
        check_is_fitted(self)
        torch = needed("torch", "A PyTorch module needs torch; install it with pip install 'certnet[gpu]'.")
        own, double = self.network_, torch.float64
        (m, d), c = own.hidden.shape, len(own.output)
        module = torch.nn.Sequential(
            torch.nn.Linear(d, m, dtype=double), torch.nn.ReLU(), torch.nn.Linear(m, c, dtype=double)
        )
        weights = {"0.weight": own.hidden, "0.bias": own.hidden_bias, "2.weight": own.output, "2.bias": own.output_bias}
        module.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
        return module

    def to_onnx(self, path: str | Path) -> None:
        """Write the network as an ONNX file; outputs are those of ``to_torch``.

        Raises:
            InputError: the onnx package is missing.
            OSError: the file cannot be written.
        """
        check_is_fitted(self)
        write_onnx(path, self.network_)


def distinct_rows(X: FloatArray, Y: FloatArray, weight: FloatArray) -> Problem:
    """The distinct rows of (X, Y) of positive weight, in a fixed order, with the weights of equal ones added up."""
    kept = weight != 0
    if not kept.any() or not (weight >= 0).all():
        return X, Y, weight  # which the program refuses
    rows, weight = np.hstack([X, Y])[kept] + 0.0, weight[kept]  # −0.0 becomes 0.0
    order = np.lexsort([weight, *rows.T[::-1]])
    rows, weight = rows[order], weight[order]
    first = np.ones(len(rows), dtype=bool)
    first[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    total: FloatArray = np.bincount(np.cumsum(first) - 1, weights=weight).astype(np.float64)
    return rows[first, : X.shape[1]], rows[first, X.shape[1] :], total
