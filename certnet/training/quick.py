"""Networks in about a second for 100 rows, without a proof: descended, with a few more neurons that pay."""

from dataclasses import dataclass

import numpy as np

from certificates.failure import Deadline
from certnet.runtime.numerics import computing
from certnet.training.polish import Network, descend, joined, network_dual, polish, prune
from certnet.training.pricing import drawn, largest_prices, normalised, values
from formulations import TrainingProgram


@dataclass(frozen=True)
class Settings:
    """How a quick network is trained.

    "On six paths" are the objectives at nine weight decays, each from the network before, of wine, breast cancer, pima
    indians, 600 rows of digits, 1,000 made-up rows and a sine, and the CPU seconds of all of them.
    """

    neurons: int = 50
    """Random neurons that one begins with. Measured: 30, with 100 steps, leave 0.03 % more of the objective on 300 rows
    of breast cancer and 3 % on digits."""
    steps: int = 300
    """Steps of their descent. Measured: 1000 take 0.3 s more and are no better after the next stage."""
    rounds: int = 2
    """Times that new neurons are looked for. Measured: on six paths 1 takes 0.7 of the time and leaves 1.1 % more, 3
    take 1.3 times as long for 0.1 % less."""
    descent: int = 60
    """Steps of L-BFGS after each of them, and before. Measured: with 40 the validation loss on 6,000 rows of a made-up
    set is 4 % larger, at 0.8 of the time."""
    negligible: float = 1e-3
    """‖u_j‖‖v_j‖ over the largest, below which a neuron leaves. Measured: on six paths 1e-2 takes 0.8 of the time and
    leaves 0.2 % more, 1e-4 is no better."""
    tolerance: float = 1e-3
    """Relative excess of the price over γ at which a network is good enough. Measured: on six paths 1e-2 takes 0.8 of
    the time and leaves 0.3 % more, 1e-4 is no better."""
    starts: int = 30
    """Random starts of each search for neurons. Measured: on six paths 10 take 0.7 of the time and leave 0.7 % more,
    100 take 1.5 times as long for 0.2 % less."""
    climbing_steps: int = 1
    """Circles of each climb, which the descent goes on with. Measured: with 15 half the time goes
    into climbing, and the validation loss is no smaller."""
    new_neurons: int = 20
    """The most that join at a time. Measured: on six paths 10 leave 0.7 % more and 40 as much as 20, both in more
    time."""
    most_neurons: int = 150
    """Neurons of a network that no others join. Measured: on six paths 75 leave 0.5 % more in 0.9 of the time, and 300
    change nothing."""


SETTINGS = Settings()


@np.errstate(all="ignore")
def quick_network(program: TrainingProgram, start: Network | None, seed: int, deadline: Deadline) -> Network:
    """U (d×m) and V (c×m), from the neurons of ``start`` or random ones; never worse than start or the zero network."""
    (_, d, c), m, generator = program.shape, SETTINGS.neurons, np.random.default_rng(seed)
    zero = np.zeros((d, 0)), np.zeros((c, 0))
    with computing():
        first = start
        if first is None:
            U, V = generator.standard_normal((d, m)) / np.sqrt(d), generator.standard_normal((c, m)) / np.sqrt(m)
            first = descend(program, U, V, max_iterations=SETTINGS.steps, deadline=deadline)
        found = improved(program, first, generator, deadline)
        if not deadline.passed:
            found = polish(program, *found, deadline=deadline)
    return min((found, *([] if start is None else [start]), zero), key=lambda network: program.objective(*network))


def improved(program: TrainingProgram, network: Network, generator: np.random.Generator, deadline: Deadline) -> Network:
    """A network of this program from that of a larger γ: neurons whose price is too large join, a few times."""
    s = SETTINGS
    network = _descended(program, network, deadline)
    for _ in range(s.rounds):
        if deadline.passed:
            break
        W = network_dual(program, *network, tolerance=s.tolerance, deadline=deadline)
        found = largest_prices(
            program, W, samples=s.starts, max_steps=s.climbing_steps, random_state=generator, deadline=deadline
        )
        fresh = found.directions[:, found.values > program.gamma * (1.0 + s.tolerance)]
        fresh = fresh[:, : min(s.new_neurons, max(s.most_neurons - network[0].shape[1], 0))]
        if not fresh.shape[1]:
            break
        network = _descended(program, joined(program, *network, fresh), deadline)
    return network


def _descended(program: TrainingProgram, network: Network, deadline: Deadline) -> Network:
    """The network after a short descent, without the neurons that have died in it."""
    found = descend(program, *network, max_iterations=SETTINGS.descent, deadline=deadline)
    found = prune(program, *found, tolerance=SETTINGS.negligible)
    return min(network, found, key=lambda one: program.objective(*one))


def zero_decay(program: TrainingProgram) -> float:
    """About the γ from which on the zero network is best for a program, whose own γ does not matter."""
    zero = np.zeros((program.shape[2], 0))
    W = program.dual(np.zeros((program.shape[1], 0)), zero)
    # The largest price among the rows' own directions is about that of all.
    own = program.X.T if program.penalised.all() else np.vstack([program.X[:, :-1].T, np.zeros(len(program.X))])
    directions = [normalised(program, part) for part in (own, -own)]
    directions.append(drawn(program, W, SETTINGS.starts, np.random.default_rng(0)))
    size = float(values(program.X, W, np.hstack(directions)).max(initial=0.0))
    return size if size > 0 else 1.0
