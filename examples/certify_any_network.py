"""How far is a network, trained by any tool, from the best network of any width?

Every network offers a dual point: its residual. The relaxation offers a better one. The checker proves the bound.
Run: python examples/certify_any_network.py
"""

import numpy as np
from sklearn.datasets import load_iris
from sklearn.neural_network import MLPRegressor

import certnet
from certificates.making import certify, residual_dual

GAMMA = 0.1


def main() -> None:
    X, labels = load_iris(return_X_y=True)
    X = (X[::3] - X[::3].mean(axis=0)) / X[::3].std(axis=0)
    Y = np.eye(3)[labels[::3]]
    program = certnet.TrainingProgram(X, Y, GAMMA, bias=True)

    # scikit-learn minimises ½·mean over n·c + α/(2n)·‖weights‖², so α = γ/c. It does not penalise biases; we do. Its
    # output bias o becomes one more neuron that is always active: (bias column · √‖o‖)₊ times o/√‖o‖.
    other = MLPRegressor(hidden_layer_sizes=(50,), alpha=GAMMA / 3, solver="lbfgs", max_iter=2000, random_state=0)
    other.fit(X, Y)
    root = np.sqrt(np.linalg.norm(other.intercepts_[1]))
    constant = np.append(np.zeros(X.shape[1]), root)[:, None]
    U = np.hstack([np.vstack([other.coefs_[0], other.intercepts_[0]]), constant])
    V = np.hstack([other.coefs_[1].T, other.intercepts_[1][:, None] / root])
    print(f"scikit-learn, 50 neurons: objective {program.objective(U, V):.4f}")

    presolved = certnet.presolve(program)
    solved = certnet.solve(presolved.program, time_limit=15)
    duals = [presolved.undo_dual(solved.dual), residual_dual(presolved.rows, U, V)]
    certificate, report = certify(presolved.rows, duals, U, V)
    print(f"{report.verdict}: no network of any width is below {report.lower_bound:.4f}; gap {report.gap:.1%}")

    trained = certnet.fit(program, time_limit=10)
    print(f"certnet's trainer: objective {trained.objective:.4f} with {trained.U.shape[1]} neurons")
    certnet.write_certificate("iris_mlp.cert", certificate)
    print("wrote iris_mlp.cert; try: certnet check iris_mlp.cert")


if __name__ == "__main__":
    main()
