"""Small networks and the exact least margin of a case, by enumeration of activation patterns."""

import itertools

import numpy as np
from hypothesis import strategies as st
from scipy.optimize import linprog

from formulations.robustness import InputRegion, ReluNetwork, UnsafeCase

SEEDS = st.integers(0, 2**32 - 1)


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


def exact_least_margin(network: ReluNetwork, case: UnsafeCase) -> float:
    """min over the box of max_r (H f(x) + h)_r: one linear program for each activation pattern."""
    region = case.region
    assert not region.has_ball
    d, best = network.inputs, np.inf
    for pattern in itertools.product((0.0, 1.0), repeat=network.width):
        active = np.array(pattern)
        rows = case.H @ network.output * active
        slope, constant = rows @ network.hidden, rows @ network.hidden_bias
        constant = constant + case.H @ network.output_bias + case.h
        sign = np.where(active == 1, -1.0, 1.0)
        A = np.vstack(
            [
                np.hstack([slope, -np.ones((len(slope), 1))]),
                np.hstack([sign[:, None] * network.hidden, np.zeros((network.width, 1))]),
            ]
        )
        right = np.concatenate([-constant, -sign * network.hidden_bias])
        box = [*zip(region.lower, region.upper, strict=True), (None, None)]
        found = linprog(np.append(np.zeros(d), 1.0), A_ub=A, b_ub=right, bounds=box, method="highs")
        if found.status == 0:
            best = min(best, float(found.fun))
    return best


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
