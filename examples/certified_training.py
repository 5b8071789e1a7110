"""How do weight decay and robustness go together? Train for several γ, audit each network, and let the figures say.

γ is chosen on the validation rows, by clean accuracy and by certified accuracy; the test rows are only reported.
Run: python examples/certified_training.py (60 s on one core)
"""

import argparse
from collections.abc import Sequence

import numpy as np

import certnet
from certnet.io import Recipe, load

GAMMAS = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1)
RADIUS = 0.2


def run(
    source: str, gammas: Sequence[float], radius: float, *, rows: int, seconds: float
) -> list[tuple[float, certnet.AuditResult, certnet.AuditResult]]:
    """(γ, audit of the validation rows, audit of the test rows) for each γ, on standardised features in l∞."""
    split = load(Recipe(source=source))
    validation, test = ((X, Y) for name, X, Y in split.parts() if name != "train")
    table = []
    for gamma in gammas:
        program = certnet.TrainingProgram(
            split.X, split.Y, gamma, loss="cross-entropy", hidden_bias="free", output_bias="free"
        )
        trained = certnet.train(program, method="global", time_limit=seconds)
        # The last row of U belongs to the column of ones, which is the hidden bias.
        proof = trained.certificate.proofs[0]
        network = certnet.ReluNetwork.of_program(proof.U, proof.V, proof.output, hidden_bias=True)
        audits = [
            certnet.audit(network, X[:rows], Y[:rows].argmax(axis=1), norm="linf", radii=[radius], input_limit=2.0)
            for X, Y in (validation, test)
        ]
        table.append((gamma, audits[0], audits[1]))
        gap = f"{trained.report.gap:.2%}" if np.isfinite(trained.report.gap) else "unknown"
        print(f"γ = {gamma:g}: {network.width} neurons, optimality gap {gap}; test: {figures(audits[1])}")
    return table


def figures(audit: certnet.AuditResult) -> str:
    """Clean accuracy, and what is known of the accuracy under attack."""
    certified, attacked = audit.certified_accuracy[0], audit.attacked_accuracy[0]
    return f"clean {audit.clean_accuracy:.3f}, certified {certified:.3f} <= true <= attacked {attacked:.3f}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="iris")
    parser.add_argument("--gammas", type=float, nargs="+", default=list(GAMMAS))
    parser.add_argument("--radius", type=float, default=RADIUS)
    parser.add_argument("--rows", type=int, default=100, help="of validation and test each, at most")
    parser.add_argument("--seconds", type=float, default=8.0, help="of training for each γ")
    options = parser.parse_args(arguments)
    print(f"{options.data}, l∞ radius {options.radius:g} in standard deviations of the features")
    table = run(options.data, options.gammas, options.radius, rows=options.rows, seconds=options.seconds)
    # In doubt the larger γ, which is the simpler network.
    clean = max(table, key=lambda row: (row[1].clean_accuracy, row[0]))
    certified = max(table, key=lambda row: (row[1].certified_accuracy[0], row[0]))
    for name, row in (("clean", clean), ("certified", certified)):
        print(f"best {name} accuracy on the validation rows: γ = {row[0]:g}; on the test rows {figures(row[2])}")


if __name__ == "__main__":
    main()
