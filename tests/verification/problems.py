"""Small networks and the exact least margin of a case, by enumeration of activation patterns."""

import clarabel
import numpy as np
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.sparse import csc_matrix

from certnet.io.vnnlib import Property, of_one
from formulations._validation import FloatArray
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, UnsafeCase

SEEDS = st.integers(0, 2**32 - 1)


def parse_vnnlib(text: str, network: ReluNetwork | None = None) -> Property:
    """The property that a VNN-LIB text states, of this network."""
    return of_one(text).of(network)


def random_network(seed: int, *, inputs: int = 3, width: int = 5, outputs: int = 2) -> ReluNetwork:
    rng = np.random.default_rng(seed)
    return ReluNetwork(
        rng.standard_normal((width, inputs)),
        0.5 * rng.standard_normal(width),
        rng.standard_normal((outputs, width)),
        rng.standard_normal(outputs),
    )


def random_box(seed: int, inputs: int = 3) -> InputRegion:
    rng = np.random.default_rng(seed + 1)
    middle, half = rng.standard_normal(inputs), rng.uniform(0.2, 1.5, inputs)
    return InputRegion(middle - half, middle + half)


def random_ball(seed: int, inputs: int = 3, *, boxed: bool = False) -> InputRegion:
    """A ball, or its intersection with a box that cuts it."""
    rng = np.random.default_rng(seed + 3)
    middle, radius = rng.standard_normal(inputs), float(rng.uniform(0.3, 1.2))
    if not boxed:
        return InputRegion.l2(middle, radius)
    half = radius * rng.uniform(0.4, 1.1, inputs)
    return InputRegion(middle - half, middle + half, middle + 0.1 * radius * rng.standard_normal(inputs), radius)


def exact_least_margin(network: ReluNetwork, case: UnsafeCase) -> float:
    """min over the region of max_r (H f(x) + h)_r: a cone program for each pattern that is possible in the box.

    Patterns grow neuron by neuron, and one that its neurons make impossible is not gone into.
    """
    best, stack = np.inf, [np.zeros(0)]
    while stack:
        active = stack.pop()
        if len(active) == network.width:
            best = min(best, _least_on_pattern(network, case, active))
        elif _is_possible(network, case.region, active):
            stack += [np.append(active, 0.0), np.append(active, 1.0)]
    return best


def _rows(network: ReluNetwork, active: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(A, b) with A x ≤ b where the first neurons are active (1) or not (0)."""
    sign = np.where(active == 1, -1.0, 1.0)
    k = len(active)
    return sign[:, None] * network.hidden[:k], -sign * network.hidden_bias[:k]


def _is_possible(network: ReluNetwork, region: InputRegion, active: FloatArray) -> bool:
    A, b = _rows(network, active)
    if not len(A):
        return True
    box = list(zip(region.lower, region.upper, strict=True))
    return linprog(np.zeros(network.inputs), A_ub=A, b_ub=b, bounds=box, method="highs").status == 0


def _least_on_pattern(network: ReluNetwork, case: UnsafeCase, active: FloatArray) -> float:
    region, d = case.region, network.inputs
    rows = case.H @ network.output * active
    constant = rows @ network.hidden_bias + case.H @ network.output_bias + case.h
    A, b = _rows(network, active)
    G = np.vstack(
        [
            np.hstack([rows @ network.hidden, -np.ones((len(rows), 1))]),
            np.hstack([A, np.zeros((len(A), 1))]),
            np.hstack([np.eye(d), np.zeros((d, 1))]),
            np.hstack([-np.eye(d), np.zeros((d, 1))]),
        ]
    )
    g = np.concatenate([-constant, b, region.upper, -region.lower])
    cones = [clarabel.NonnegativeConeT(len(g))]
    if region.centre is not None and region.radius is not None:
        ball = np.vstack([np.zeros((1, d + 1)), np.hstack([-np.eye(d), np.zeros((d, 1))])])
        G, g = np.vstack([G, ball]), np.concatenate([g, [region.radius], -region.centre])
        cones.append(clarabel.SecondOrderConeT(d + 1))
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    cost = np.append(np.zeros(d), 1.0)
    solver = clarabel.DefaultSolver(csc_matrix((d + 1, d + 1)), cost, csc_matrix(G), g, cones, settings)
    solution = solver.solve()
    return float(solution.obj_val) if str(solution.status) == "Solved" else np.inf


@st.composite
def box_cases(draw: st.DrawFn, *, width: int = 5, rows: int = 1) -> tuple[ReluNetwork, UnsafeCase, float]:
    """(network, case, exact least margin), the last often near 0."""
    seed = draw(SEEDS)
    network = random_network(seed, inputs=draw(st.integers(1, 3)), width=draw(st.integers(1, width)))
    region = random_box(seed, network.inputs)
    rng = np.random.default_rng(seed + 2)
    H, h = rng.standard_normal((rows, network.outputs)), rng.standard_normal(rows)
    least = exact_least_margin(network, UnsafeCase(region, H, h))
    wanted = draw(st.sampled_from([-1.0, -0.05, 0.02, 0.3, 2.0]))
    return network, UnsafeCase(region, H, h + (wanted - least)), wanted
