"""``certnet lipschitz`` and what ``certnet check`` says of its certificates."""

from pathlib import Path

import numpy as np
import pytest

from certificates import Verdict, check, read_certificate, write_certificate
from certnet.jobs.lipschitz import lipschitz_constant
from formulations import InputError
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion
from tests.certificates.altering import replace
from tests.cli.support import caller, one_sentence
from tests.verification.problems import random_network


def saved(folder: Path, network: ReluNetwork) -> Path:
    file = folder / "net.npz"
    np.savez(file, W1=network.hidden, b1=network.hidden_bias, W2=network.output, b2=network.output_bias)
    return file


def saved_data(folder: Path, inputs: int = 3) -> Path:
    rng, file = np.random.default_rng(0), folder / f"data{inputs}.npz"
    np.savez(file, X_train=rng.standard_normal((4, inputs)), Y_train=np.eye(2)[[0, 1, 0, 1]])
    return file


@pytest.mark.parametrize("functions", [1, 2])
@pytest.mark.parametrize("region", [None, InputRegion.linf(np.zeros(3), 0.2), InputRegion.l2(np.zeros(3), 0.2)])
def test_files_keep_everything(tmp_path: Path, functions: int, region: InputRegion | None) -> None:
    made = lipschitz_constant(random_network(3, inputs=3, width=5), np.eye(2)[:functions], region=region).certificate
    for name in ("a.cert", "b.cert"):
        write_certificate(tmp_path / name, made)
    assert (tmp_path / "a.cert").read_bytes() == (tmp_path / "b.cert").read_bytes()
    read = read_certificate(tmp_path / "a.cert")
    assert read.constant == made.constant
    assert check(read).verdict is Verdict.PROVED
    assert (read.region is None) == (region is None)
    if region is not None and read.region is not None:
        for name in ("lower", "upper", "centre"):
            assert np.array_equal(getattr(read.region, name), getattr(region, name))
        assert read.region.radius == region.radius


def test_files_with_half_a_region_are_refused(tmp_path: Path) -> None:
    region = InputRegion.l2(np.zeros(3), 0.2)
    made = lipschitz_constant(random_network(3, inputs=3, width=5), np.eye(2), region=region).certificate
    for name, value in (("lower", np.zeros(0)), ("radius", None), ("upper", -np.ones(3))):
        broken = InputRegion.l2(np.zeros(3), 0.2)
        object.__setattr__(broken, name, value)
        write_certificate(tmp_path / "broken.cert", replace(made, region=broken))
        with pytest.raises(InputError, match="cannot be used as a certificate"):
            read_certificate(tmp_path / "broken.cert")


def test_global_constants(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certnet, net = caller(capsys), saved(tmp_path, random_network(3, inputs=3, width=5))
    done = certnet("lipschitz", net, "--pair", "0,1", "--certificate", tmp_path / "c.cert", "--json")
    assert done.code == 0
    entry = done.json["results"][0]
    assert entry["sampled"] <= entry["constant"] <= entry["product"]
    checked = certnet("check", tmp_path / "c.cert", "--network", net)
    assert checked.code == 0
    assert "1·y_0 + -1·y_1" in checked.out
    done = certnet("lipschitz", net, "--certificate", tmp_path / "proofs")
    assert done.out.count("PROVED") == 3
    assert "all outputs" in done.out
    names = ["all-outputs.cert", "output-0.cert", "output-1.cert"]
    assert sorted(file.name for file in (tmp_path / "proofs").iterdir()) == names
    for name in names:
        assert certnet("check", tmp_path / "proofs" / name, "--network", net).code == 0


@pytest.mark.parametrize("norm", [None, "linf"])
def test_local_constants(tmp_path: Path, capsys: pytest.CaptureFixture[str], norm: str | None) -> None:
    certnet, net = caller(capsys), saved(tmp_path, random_network(3, inputs=3, width=5))
    data = saved_data(tmp_path)
    words = ("lipschitz", net, "--local", data, "--radius", "0.3", *(() if norm is None else ("--norm", norm)))
    done = certnet(*words, "--rows", "1:3", "--certificate", tmp_path / "proofs", "--json")
    assert done.code == 0
    assert (done.json["norm"], done.json["radius"]) == (norm or "l2", 0.3)
    assert [entry["row"] for entry in done.json["results"]] == [1, 2]
    everywhere = certnet("lipschitz", net, "--json").json["results"][-1]
    with np.load(data) as arrays:
        X = arrays["X_train"]
    for entry in done.json["results"]:
        assert entry["function"] == everywhere["function"] == "all outputs"
        assert entry["sampled"] <= entry["constant"] <= everywhere["constant"] * (1 + 1e-4)
        certificate = read_certificate(entry["certificate"])
        make = InputRegion.l2 if norm is None else InputRegion.linf
        region = make(X[entry["row"]], 0.3)
        assert certificate.region is not None
        assert np.array_equal(certificate.region.lower, region.lower)
        assert certificate.region.radius == region.radius
        checked = certnet("check", entry["certificate"], "--network", net, "--json")
        assert checked.code == 0
        assert checked.json["constant"] == entry["constant"]
        assert checked.json["region"]["upper"] == region.upper.tolist()
    assert ("ball" if norm is None else "box") in certnet("check", entry["certificate"]).out
    *table, meaning = certnet(*words, "--pair", "1,0", "--lipsdp").out.splitlines()
    assert meaning.startswith("y_1 - y_0 changes by at most")
    assert [line.split()[0] for line in table] == ["row", *"0123"]
    assert all(line.endswith("PROVED") for line in table[1:])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--output", "2"), "no output 2"),
        (("--output", "-1"), "no output -1"),
        (("--pair", "0,0"), "two of the outputs"),
        (("--pair", "0,2"), "two of the outputs"),
        (("--pair", "x"), "two outputs such as"),
        (("--pair", "0,²"), "two outputs such as"),
        (("--output", "0", "--pair", "0,1"), "exclude"),
        (("--radius", "0.1"), "Leave --radius out: it goes with --local"),
        (("--norm", "l2"), "Leave --norm out: it goes with --local"),
        (("--rows", "0"), "Leave --rows out: it goes with --local"),
        (("--target", "y"), "Leave --target out: it goes with --local"),
        (("--local", "data3.npz"), "--local needs --radius"),
        (("--local", "data3.npz", "--radius", "-1"), "at least 0, not -1"),
        (("--local", "data3.npz", "--radius", "nan"), "at least 0, not nan"),
        (("--local", "data3.npz", "--radius", "inf"), "at least 0, not inf"),
        (("--local", "data3.npz", "--radius", "1", "--rows", "6"), "rows 0 to 3"),
        (("--local", "data3.npz", "--radius", "1", "--output", "2"), "no output 2"),
        (("--local", "data2.npz", "--radius", "1"), "has 2 features, but the network has 3 inputs"),
        (("--local", "none.npz", "--radius", "1"), "no file"),
        (("--seed", "-1"), "--seed"),
        (("--certificate", "net.npz"), "choose another with --certificate"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    sentence: str,
) -> None:
    net = saved(tmp_path, random_network(3, inputs=3, width=5))
    saved_data(tmp_path)
    saved_data(tmp_path, 2)
    monkeypatch.chdir(tmp_path)
    before = net.read_bytes()
    wrong = caller(capsys)("lipschitz", net, *words)
    assert wrong.code == 2
    assert sentence in one_sentence(wrong)
    assert wrong.out == ""
    assert net.read_bytes() == before


def test_check_names_box_and_ball_and_rounds_sizes_down() -> None:
    """A constant of the part of a ball that lies in a box is not one of the ball."""
    from certnet.cli.check import lines_of

    region = {"lower": [1.0, -3.0], "upper": [2.0, -2.0], "centre": [0.0, 0.0], "radius": 4.9999999}
    found = {
        "verdict": "PROVED",
        "reason": "",
        "constant": 1.0,
        "function": [[0.9999996, 1.0]],
        "region": region,
        "arithmetic": "float",
    }
    lines = lines_of(found)
    assert "ball in 2 dimensions of radius 4.99999 that lie in a box" in lines["inputs"]
    assert lines["function"] == "0.9999996·y_0 + 1·y_1"
    whole = lines_of({**found, "region": {**region, "lower": [-5.0, -5.0], "upper": [5.0, 5.0]}})
    assert "box" not in whole["inputs"]
