"""From a spreadsheet to a model, a report and a proof: every command in turn, none of them replaced."""

from pathlib import Path

import numpy as np
import pytest

from certnet import read_run
from tests.cli.support import Call
from tests.cli.test_predict import rows, write


@pytest.mark.slow
def test_from_a_spreadsheet_to_a_page(certnet: Call) -> None:
    names = ("id", "joined", "size", "colour", "outcome")
    made = [{**row, "joined": f"2024-{k % 12 + 1:02d}-{k % 28 + 1:02d}"} for k, row in enumerate(rows(120))]
    write("shop.csv", made, names)
    write(
        "new.csv",
        [{**row, "joined": "2025-01-31"} for row in rows(40, seed=9)],
        ("colour", "joined", "size", "outcome"),
    )
    train = certnet("train", "shop.csv", "--gamma", "3", "--time-limit", "4", "--json")
    assert train.code == 0
    assert 0 < train.json["lower_bound"] <= train.json["objective"]
    right = certnet("predict", "shop", "new.csv", "-o", "out.csv")
    assert float(right.err.split(":")[-1].rstrip(".\n")) >= 0.8
    cut = ("--input-limit", "2", "--quiet")
    for call, wanted in (
        (("check", "shop", "--data", "shop.csv"), "equal to the copy"),
        (("verify", "shop", "new.csv", "--norm", "l2", "--radius", "0.001", "--rows", "0:3"), "provably keep"),
        (("audit", "shop", "--norm", "linf", "--radii", "0.01", "--limit", "5", *cut), "certified"),
        (("lipschitz", "shop", "--lipsdp"), "changes by at most"),
        (("optimality", "shop", "--no-train", "--time-limit", "2", "--quiet"), "optimum"),
        (("show", "shop"), "colour"),
        (("compare", "shop"), "runs/shop *"),
        (("export", "shop", "--numpy", "shop.npz", "--float32"), "shop.npz"),
        (
            ("report", "shop", "runs/audit/shop-shop-linf-0.01", "runs/optimality/shop-shop", "--html", "p.html"),
            "p.html",
        ),
    ):
        done = certnet(*call)
        assert done.code in (0, 1), (call, done.err)
        assert wanted in done.out, call
        assert "Traceback" not in done.err
    assert "colour" in Path("p.html").read_text()
    run = read_run("shop")
    assert run.network is not None
    assert run.network.predict_class(run.features("new.csv")).tolist() == run.predict("new.csv")["prediction"]
    with np.load("shop.npz") as a:
        Z = (run.features("new.csv") - a["offset"]) / a["scale"]
        scores = np.maximum(Z @ a["U"] + a["hidden_bias"], 0) @ a["V"].T + a["output_bias"]
    np.testing.assert_allclose(scores, run.network.predict(run.features("new.csv")), rtol=1e-4, atol=1e-4)
