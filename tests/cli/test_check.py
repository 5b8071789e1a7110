"""``certnet check``: verdicts, exit codes, and files that are no certificates."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from certificates import read_certificate, write_certificate
from certificates.certificate import OptimalityCertificate
from tests.cli.support import Call, files, one_sentence


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
    certnet("train", "iris", "--bias", "--seed", "4", "--quiet")
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
    np.savez("same.npz", X_train=inside.X, Y_train=inside.Y)
    assert certnet("check", plain, "--data", "same.npz").code == 0
    np.savez("changed.npz", X_train=np.nextafter(inside.X, 1.0), Y_train=inside.Y)
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
    inside: OptimalityCertificate = read_certificate(certificate)
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
        middle = len(whole) // 2
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
    _, proved, _, unreadable, *reasons = outcome.out.splitlines()
    assert proved.startswith("PROVED")
    assert unreadable.split()[:6] == ["UNREADABLE", "—", "—", "—", "—", "—"]
    assert len(reasons) == 2
    assert [reason.count(name) for reason, name in zip(reasons, ("other.cert", "absent.cert"), strict=True)] == [1, 1]


def test_a_choice_and_a_time_limit_that_do_not_exist(certnet: Call, certificate: Path) -> None:
    outcome = certnet("check", certificate, "--arithmetic", "fuzzy")
    assert outcome.err == "certnet: --arithmetic must be one of auto, exact, ball, float, not 'fuzzy'.\n"
    assert "0 for no limit" in one_sentence(certnet("check", certificate, "--time-limit", "-1"))
