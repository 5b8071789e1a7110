"""How robust is a network that somebody else trained? Clean, certified and attacked accuracy, and the worst rows.

Certified rows keep their class for every disturbance up to the radius: that is proved, and the checker accepted the
proof. Attacked rows lose it: the input that shows it is at hand. The true accuracy under attack lies in between.

Run: python examples/audit_a_network.py (15 s on one core)
"""

import argparse
from collections.abc import Sequence

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import certnet

RADII = (0.01, 0.03, 0.1)


def run(rows: int, radii: Sequence[float], neurons: int, seconds: float) -> certnet.AuditResult:
    """Audit a network for digits of 8×8 pixels, whose grey values are scaled to [0, 1], in l∞."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16.0, y, stratify=y, random_state=0)
    model = MLPClassifier(hidden_layer_sizes=(neurons,), alpha=1.0, solver="lbfgs", max_iter=2000, random_state=0).fit(
        X_train, y_train
    )
    network = certnet.network_from_sklearn(model)
    result = certnet.audit(
        network, X_test[:rows], y_test[:rows], norm="linf", radii=radii, input_limit=seconds, random_state=0
    )
    print(f"{rows} rows, clean accuracy {result.clean_accuracy:.3f}")
    for radius, certified, attacked in zip(
        result.radii, result.certified_accuracy, result.attacked_accuracy, strict=True
    ):
        print(f"radius {radius:g}: certified {certified:.3f} <= true <= attacked {attacked:.3f}")
    lost = [row for row, entry in enumerate(result.inputs) if entry.status[0] != "certified"]
    print(f"rows that are not certified at the smallest radius: {', '.join(map(str, lost)) or 'none'}")
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50)
    parser.add_argument("--radii", type=float, nargs="+", default=list(RADII))
    parser.add_argument("--neurons", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each row")
    options = parser.parse_args(arguments)
    run(options.rows, options.radii, options.neurons, options.seconds)


if __name__ == "__main__":
    main()
