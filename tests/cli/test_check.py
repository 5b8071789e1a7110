"""``certnet check``: verdicts, exit codes, and files that are no certificates."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from certificates import Certificate, read_certificate, write_certificate
from certificates.findings import region_fields
from certificates.making.assemble import certify
from certnet.io import Recipe, load
from certnet.jobs.lipschitz import lipschitz_constant
from formulations import TrainingProgram, merge_rows
from tests.certificates.altering import replace
from tests.certificates.proofs import linear_robustness
from tests.cli.support import Call, files, one_sentence
from tests.verification.problems import random_network


@pytest.fixture
def certificate(certnet: Call, quick: None) -> Path:
    """A certificate for the spiral."""
    assert certnet("train", "spiral", "--raw", "--quiet").code == 0
    return Path("runs/spiral/optimality.cert")


def altered(path: Path, **changes: object) -> Path:
    other = Path("other.cert")
    write_certificate(other, replace(read_certificate(path), **changes))
    return other


def test_without_data_the_copy_inside_is_used_and_that_is_said(certnet: Call, certificate: Path) -> None:
    outcome = certnet("check", certificate)
    assert outcome.code == 0
    assert outcome.err == ""
    assert "copy inside the certificate" in outcome.out
    report = certnet("check", certificate, "--json").json
    assert report["verdict"] == "PROVED"
    assert report["data"]["compared_with"] is None
    assert report["claimed"]["lower_bound"] <= report["lower_bound"] <= report["objective"]


def test_data_are_rebuilt_with_split_standardisation_and_bias(certnet: Call, quick: None) -> None:
    certnet("train", "iris", "--hidden-bias", "penalised", "--seed", "4", "--quiet")
    assert certnet("check", "runs/iris/optimality.cert", "--data", "iris").code == 0
    np.savez("train.npz", X=read_certificate("runs/iris/optimality.cert").X, Y=np.arange(90) % 3)
    outcome = certnet("check", "runs/iris/optimality.cert", "--data", "train.npz")
    assert outcome.code == 2


@pytest.mark.parametrize("data", ["wine", "iris"])
def test_other_data_are_refused_with_both_fingerprints(certnet: Call, certificate: Path, data: str) -> None:
    outcome = certnet("check", certificate, "--data", data)
    assert (outcome.code, outcome.out) == (2, "")
    assert "about other data" in one_sentence(outcome)
    assert read_certificate(certificate).data_fingerprint[:12] in outcome.err


def test_a_certificate_without_a_recipe_is_compared_with_all_rows(certnet: Call, certificate: Path) -> None:
    inside = read_certificate(certificate)
    plain = altered(certificate, provenance={})
    np.savez("same.npz", X_train=inside.X[:, :-1], Y_train=inside.Y)
    assert certnet("check", plain, "--data", "same.npz").code == 0
    np.savez("changed.npz", X_train=np.nextafter(inside.X[:, :-1], 1.0), Y_train=inside.Y)
    assert certnet("check", plain, "--data", "changed.npz").code == 2


def test_a_damaged_recipe_is_one_sentence(certnet: Call, certificate: Path) -> None:
    broken = altered(certificate, provenance={"data": {"source": 3}})
    outcome = certnet("check", broken, "--data", "spiral")
    assert outcome.code == 2
    assert "damaged" in one_sentence(outcome)
    assert certnet("check", broken).code == 0


def test_a_bound_that_is_not_proved_is_unknown(certnet: Call, certificate: Path) -> None:
    inside = read_certificate(certificate)
    half_way = 0.5 * (inside.lower_bound + inside.objective)
    outcome = certnet("check", altered(certificate, lower_bound=half_way), "--json")
    assert outcome.code == 3
    assert outcome.json["verdict"] == "UNKNOWN"


def test_a_claim_that_the_network_disproves_is_refuted(certnet: Call, certificate: Path) -> None:
    inside = read_certificate(certificate)
    outcome = certnet("check", altered(certificate, lower_bound=2 * inside.objective), "--json")
    assert outcome.code == 1
    assert outcome.json["verdict"] == "REFUTED"


def test_weights_tampered_with_do_not_pass(certnet: Call, certificate: Path) -> None:
    inside: Certificate = read_certificate(certificate)
    assert certnet("check", altered(certificate, W=3 * inside.W)).code == 3


@pytest.mark.parametrize("content", ["", "text", "truncated", "flipped", "archive", "absent", "folder"])
@pytest.mark.parametrize("json", [False, True])
def test_files_that_are_no_certificates(certnet: Call, certificate: Path, content: str, json: bool) -> None:
    whole = certificate.read_bytes()
    bad = Path("bad.cert")
    if content == "folder":
        bad.mkdir()
    elif content == "archive":
        with bad.open("wb") as stream:
            np.savez(stream, X=np.ones(3))
    elif content != "absent":
        with zipfile.ZipFile(certificate) as archive:
            # Headers have bytes that mean nothing; those of an array all count.
            largest = max(archive.infolist(), key=lambda info: info.compress_size)
        middle = largest.header_offset + 30 + len(largest.filename) + largest.compress_size // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
        bad.write_bytes({"": b"", "text": b"bound = 7\n", "truncated": whole[:middle], "flipped": flipped}[content])
    before = files(Path())
    outcome = certnet("check", bad, *(["--json"] if json else []))
    assert outcome.code == 2
    assert "bad.cert" in one_sentence(outcome)
    assert files(Path()) == before
    if json:
        assert (outcome.json["command"], outcome.json["error"]["exit_code"]) == ("check", 2)
    else:
        assert outcome.out == ""


def test_a_table_names_each_file_once_and_shows_no_bound_that_was_not_proved(certnet: Call, certificate: Path) -> None:
    weak = altered(certificate, W=3 * read_certificate(certificate).W)
    outcome = certnet("check", certificate, weak, "absent.cert")
    assert outcome.code == 2
    assert "inf" not in outcome.out
    _, _, proved, _, unreadable, *reasons = outcome.out.splitlines()
    assert proved.startswith("PROVED")
    assert unreadable.split()[:6] == ["UNREADABLE", "—", "—", "—", "—", "—"]
    assert len(reasons) == 2
    assert [reason.count(name) for reason, name in zip(reasons, ("other.cert", "absent.cert"), strict=True)] == [1, 1]


def test_a_choice_and_a_time_limit_that_do_not_exist(certnet: Call, certificate: Path) -> None:
    outcome = certnet("check", certificate, "--arithmetic", "fuzzy")
    assert outcome.err == "certnet: --arithmetic must be one of auto, exact, ball, float, not 'fuzzy'.\n"
    assert "0 for no limit" in one_sentence(certnet("check", certificate, "--time-limit", "-1"))


def trivial(source: str, gamma: float, hidden_bias: str = "none", **recipe: object) -> Path:
    """A certificate of the zero network and the trivial dual about rows of a file."""
    recipe = Recipe(source=source, task="regression", **recipe)
    split = load(recipe)
    merged = merge_rows(TrainingProgram(split.X, split.Y, gamma, hidden_bias=hidden_bias))
    d, c = merged.original.X.shape[1], merged.original.Y.shape[1]
    made, _ = certify(merged, [], np.zeros((d, 0)), np.zeros((c, 0)), provenance={"data": recipe.to_json()})
    path = Path(f"{gamma}-{len(merged.original.X)}-{recipe.raw}-{hidden_bias}-{recipe.target}.cert")
    write_certificate(path, made)
    return path


def test_certificates_about_one_file_state_their_own_theorems(certnet: Call) -> None:
    """Same words for two problems would let one pass for the other: decay, rows, scaling, bias and target count."""
    rows = np.random.default_rng(0).normal(size=(20, 3))
    Path("d.csv").write_text("a,b,y\n" + "".join(",".join(map(repr, row)) + "\n" for row in rows.tolist()))
    whole = {"raw": True, "split": False}
    made = [
        trivial("d.csv", 0.1, **whole),
        trivial("d.csv", np.nextafter(0.1, 1.0), **whole),
        trivial("d.csv", 0.1, **whole, hidden_bias="penalised"),
        trivial("d.csv", 0.1, **whole, target="a"),
        trivial("d.csv", 0.1, raw=False, split=False),
        trivial("d.csv", 0.1, raw=True),
    ]
    texts = []
    for path in made:
        outcome = certnet("check", path, "--data", "d.csv")
        assert outcome.code == 0
        texts.append(
            "\n".join(line for line in outcome.out.splitlines() if "SHA-256" not in line and "bound" not in line)
        )
    assert len(set(texts)) == len(made)
    for word in (
        "n = 12",
        "d = 2",
        "c = 1",
        "gamma = 0.1",
        "½",
        "hidden: none",
        "12 training rows",
        "4 test",
        "seed 0",
        "raw",
    ):
        assert word in texts[-1]
    assert "standardised" in texts[-2]
    assert "hidden: penalised" in texts[2]
    report = certnet("check", made[-1], "--data", "d.csv", "--json").json
    assert report["loss"] == "squared"
    assert report["data"]["rows"]["counts"] == {"train": 12, "validation": 4, "test": 4}
    assert report["data"]["rows"]["standardised"] is False


def test_rows_are_named_only_where_they_were_compared(certnet: Call, certificate: Path) -> None:
    outcome = certnet("check", certificate)
    assert "compared with nothing" in outcome.out
    assert "training rows" not in outcome.out
    assert certnet("check", certificate, "--json").json["data"]["rows"] is None


def test_theorems_about_networks_name_sizes_norms_and_regions(certnet: Call) -> None:
    write_certificate(Path("margin.cert"), linear_robustness())
    bound = lipschitz_constant(random_network(3, inputs=2, width=4), np.array([1.0, -0.1]))
    write_certificate(Path("slope.cert"), bound.certificate)
    margin, slope = certnet("check", "margin.cert").out, certnet("check", "slope.cert").out
    for word in ("2 inputs, 3 neurons, 2 outputs", "1 (1 output rows in all)", "a box in 2 dimensions", "at least"):
        assert word in margin
    for word in ("2 inputs, 4 neurons, 2 outputs", "l2 distance", "1·y_0 + -0.1·y_1", "inputs       all"):
        assert word in slope
    region = certnet("check", "margin.cert", "--json").json["property"]["regions"]
    assert region == [region_fields(linear_robustness().cases[0].region)]
    assert certnet("check", "slope.cert", "--json").json["norms"] == {"inputs": "l2", "outputs": "l2"}
