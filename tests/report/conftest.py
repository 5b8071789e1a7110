"""Runs to make pages of: a small one with names that are no good for HTML, one of numbers, and an audit."""

import json

import numpy as np
import pytest

from certnet.cli import main
from certnet.io.runs import Run, read_run
from tests.cli.support import quick_train

EVIL = "<script>alert(1)</script>"
FORMULA = r"$\frac{"
MOMENTS = ((0.1, 9.0, None), (0.5, 7.0, 0.2), (30.0, 6.0, 5.0))


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Runs by name, each as the command line has written it, with a course that real jobs have."""
    folder = tmp_path_factory.mktemp("pages")
    generator = np.random.default_rng(0)
    X = generator.uniform(-1.0, 1.0, (40, 2))
    names = [EVIL if a + b > 0 else f"{FORMULA}{EVIL}" for a, b in X]
    lines = [f"{a:.4f},{b:.4f},{name}" for (a, b), name in zip(X, names, strict=True)]
    (folder / "evil.csv").write_text("\n".join([f"{FORMULA},<b>two</b>,class", *lines]) + "\n")
    lines = [f"{a:.4f},{b:.4f},{a + b * b:.6f}" for a, b in X]
    (folder / "numbers.csv").write_text("\n".join(["a,b,y", *lines]) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("certnet.jobs.train.train", quick_train)
        assert main(["train", "evil.csv", "--gamma", "0.3", "--quiet"]) == 0
        assert main(["train", "numbers.csv", "--gamma", "0.3", "--quiet"]) == 0
        assert main(["audit", "evil", "evil.csv", "--norm", "linf", "--radii", "0.01,0.1", "--quiet"]) in (0, 3)
        for name in ("evil", "numbers"):
            file = folder / "runs" / name / "report.json"
            report = json.loads(file.read_text())
            keys = ("seconds", "objective", "lower_bound")
            report["history"] = [dict(zip(keys, moment, strict=True)) for moment in MOMENTS]
            report["spectrum"] = [1.0, 0.3, 1e-7]
            file.write_text(json.dumps(report))
        found = {name: read_run(folder / "runs" / name) for name in ("evil", "numbers")}
        return found | {"audit": read_run(folder / "runs" / "audit" / "evil-evil-linf-0.01-0.1")}
