"""Small proved certificates of every kind for the fuzzer to start from: ``python -m tests.fuzz.seeds FOLDER``."""

import sys
from itertools import product
from pathlib import Path

import numpy as np

from certificates import write_certificate
from certnet.jobs.lipschitz import lipschitz_constant
from certnet.jobs.train import train
from formulations import TrainingProgram
from tests.certificates.by_hand import every
from tests.certificates.proofs import tree_certificate
from tests.verification.mutants import proved_certificates
from tests.verification.problems import random_box, random_network


def write_seeds(folder: Path) -> None:
    """Optimality of every loss and bias and by both kinds of proof, robustness of every shape, and Lipschitz constants
    with products and without."""
    random = np.random.default_rng(5)
    program = TrainingProgram(random.standard_normal((5, 2)), random.standard_normal((5, 1)), 0.2)
    optimality = [tree_certificate(), train(program, method="global", gap=1e-2).certificate]
    optimality += [*every(), *every(subdivided=True)]
    for i, certificate in enumerate(optimality):
        write_certificate(folder / f"optimality{i}.cert", certificate)
    for i, robustness in enumerate(proved_certificates()):
        write_certificate(folder / f"robustness{i}.cert", robustness)
    network, region = random_network(3, inputs=2, width=4), random_box(3, 2)
    one, both = np.array([1.0, -1.0]), np.eye(2)
    for i, (C, where, products) in enumerate(product((one, both), (None, region), (False, True))):
        bound = lipschitz_constant(network, C, region=where, products=products)
        write_certificate(folder / f"lipschitz{i}.cert", bound.certificate)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    write_seeds(target)
