"""The certificate file: exact round trip, atomic writing, and nothing that a broken or hostile file can do."""

import io
import json
import os
import zipfile
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates import Certificate, Verdict, check, read_certificate, write_certificate
from certificates.container import MANIFEST
from certificates.making.assemble import certify, residual_dual
from formulations import InputError, TrainingProgram, merge_rows
from tests.strategies import rng


def make() -> Certificate:
    program = TrainingProgram(rng(1).standard_normal((4, 2)), rng(2).standard_normal((4, 1)), 0.1 + 0.2)
    U, V = np.zeros((2, 0)), np.zeros((1, 0))
    merged = merge_rows(program)
    return certify(merged, [residual_dual(merged, U, V)], U, V, provenance={"note": "ü", "list": [1, None]})[0]


CERTIFICATE = make()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "a.cert"
    write_certificate(file, CERTIFICATE)
    return file


def assert_equal(left: object, right: object) -> None:
    """Equal arrays and values, field by field."""
    if isinstance(left, np.ndarray):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    elif is_dataclass(left):
        for entry in fields(left):
            assert_equal(getattr(left, entry.name), getattr(right, entry.name))
    elif isinstance(left, tuple):
        for one, other in zip(left, right, strict=True):
            assert_equal(one, other)
    else:
        assert left == right


def rewrite(path: Path, change: dict[str, bytes | None], **extra: bytes) -> None:
    """Replace members of the zip; None removes one."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members.update({name: data for name, data in change.items() if data is not None})
    for name, data in change.items():
        if data is None:
            del members[name]
    members.update(extra)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def manifest_of(path: Path) -> dict:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(MANIFEST))


def test_round_trip_is_exact(path: Path) -> None:
    copy = read_certificate(path)
    assert_equal(CERTIFICATE, copy)
    assert check(copy).verdict is Verdict.PROVED


def test_equal_certificates_give_equal_bytes(path: Path, tmp_path: Path) -> None:
    again = tmp_path / "b.cert"
    write_certificate(again, CERTIFICATE)
    assert again.read_bytes() == path.read_bytes()


def test_a_failed_write_leaves_nothing_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_certificate(path, CERTIFICATE)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["a.cert"]


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.3, 0.7, 0.99])
def test_truncated_files(path: Path, fraction: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(fraction * len(data))])
    with pytest.raises(InputError) as caught:
        read_certificate(path)
    assert "\n" not in str(caught.value)


def test_missing_folder_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        read_certificate(tmp_path / "none.cert")
    with pytest.raises(InputError):
        read_certificate(tmp_path)
    foreign = tmp_path / "foreign.cert"
    for content in (b"hello", b"PK\x03\x04", b"\x80\x04\x95", json.dumps({"format": "certnet-certificate"}).encode()):
        foreign.write_bytes(content)
        with pytest.raises(InputError, match="not a certnet certificate"):
            read_certificate(foreign)
    np.savez(tmp_path / "other.npz", X=np.eye(2))
    with pytest.raises(InputError, match="manifest"):
        read_certificate(tmp_path / "other.npz")


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("format", "other", "describe"),
        ("version", 3, "version 3, and this certnet reads version 5 alone"),
        ("version", True, "version"),
        ("kind", "robustness", "network"),
        ("kind", "optimality", "kind 'optimality' and this certnet checks"),
        ("proofs", 2, "number of proofs"),
        ("proofs", True, "number of proofs"),
        ("statement", None, "statement"),
        ("statement.gamma", "0.1", "gamma"),
        ("statement.gamma", True, "gamma"),
        ("statement.hidden_bias", 1, "hidden_bias"),
        ("statement.loss", None, "loss"),
        ("claims", [], "claims"),
        ("claims", {"lower_bound": None, "objective": 1.0}, "lower_bound"),
        ("statement.data_fingerprint", "\ud800" * 64, "no valid JSON"),
        ("statement.data_fingerprint", "\x1b[2K" * 16, "SHA-256"),
        ("arrays", {}, "X"),
        ("provenance", 3, "provenance"),
    ],
)
def test_odd_manifests(path: Path, key: str, value: object, word: str) -> None:
    manifest = manifest_of(path)
    table, _, inner = key.rpartition(".")
    (manifest[table] if table else manifest)[inner] = value
    rewrite(path, {MANIFEST: json.dumps(manifest).encode()})
    with pytest.raises(InputError, match=word):
        read_certificate(path)


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"gamma": NaN}', "[" * 100_000, '{"gamma": 1e999}'])
def test_broken_json(path: Path, text: str) -> None:
    rewrite(path, {MANIFEST: text.encode()})
    with pytest.raises(InputError):
        read_certificate(path)


def test_huge_numbers_in_json(path: Path) -> None:
    manifest = manifest_of(path)
    for value in (10**400, 1e308 * 10, 2**1024 - 1, 1 - 2**1024):
        manifest["statement"]["gamma"] = value
        rewrite(path, {MANIFEST: json.dumps(manifest).encode()})
        with pytest.raises(InputError):
            read_certificate(path)


def test_members_must_be_the_known_ones(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    rewrite(path, {}, **{"../evil": b"x"})
    with pytest.raises(InputError, match="evil"):
        read_certificate(path)
    assert not (tmp_path.parent / "evil").exists()
    path.write_bytes(data)
    rewrite(path, {"arrays/proofs/0/W.bin": None})
    with pytest.raises(InputError, match=r"W\.bin"):
        read_certificate(path)


def test_a_name_that_zip_would_cut_short_is_foreign(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data.replace(b"arrays/statement/X.bin", b"arrays/statement/X.bi\0"))
    with pytest.raises(InputError):
        read_certificate(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(path: Path, method: int) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(InputError, match="deflate"):
        read_certificate(path)


def test_a_key_that_occurs_twice_is_refused(path: Path) -> None:
    text = json.dumps(manifest_of(path))
    rewrite(path, {MANIFEST: text.replace('"gamma":', '"gamma": 1.0, "gamma":').encode()})
    with pytest.raises(InputError, match="JSON"):
        read_certificate(path)


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.cert"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="regular file"):
        read_certificate(pipe)


def test_changed_bytes_do_not_match_their_hash(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        W = bytearray(archive.read("arrays/proofs/0/W.bin"))
    W[3] ^= 1
    rewrite(path, {"arrays/proofs/0/W.bin": bytes(W)})
    with pytest.raises(InputError, match="SHA-256"):
        read_certificate(path)


@pytest.mark.parametrize("shape", [[2**39, 2**39], [-1, 2], [4.0, 1], "x", [4], [True, 4]])
def test_absurd_shapes(path: Path, shape: object) -> None:
    manifest = manifest_of(path)
    manifest["arrays"]["statement/X"]["shape"] = shape
    rewrite(path, {MANIFEST: json.dumps(manifest).encode()})
    with pytest.raises(InputError):
        read_certificate(path)


def test_a_zip_bomb_is_refused_before_it_unpacks(path: Path) -> None:
    manifest = manifest_of(path)
    manifest["arrays"]["statement/X"]["shape"] = [2**20, 2**7]
    payload = io.BytesIO()
    with zipfile.ZipFile(payload, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, json.dumps(manifest))
        with zipfile.ZipFile(path) as source:
            for name in source.namelist():
                if name not in (MANIFEST, "arrays/statement/X.bin"):
                    archive.writestr(name, source.read(name))
        with archive.open("arrays/statement/X.bin", "w") as member:
            for _ in range(64):
                member.write(bytes(2**20))
    path.write_bytes(payload.getvalue())
    with pytest.raises(InputError, match="larger than allowed"):
        read_certificate(path)


@settings(max_examples=120)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4), st.booleans())
def test_random_damage_is_never_believed(tmp_path_factory, changes: list[tuple[int, int]], cut: bool) -> None:
    path = tmp_path_factory.mktemp("damage") / "a.cert"
    write_certificate(path, CERTIFICATE)
    data = bytearray(path.read_bytes())
    for position, value in changes:
        data[position % len(data)] = value
    if cut:
        del data[changes[0][0] % len(data) :]
    path.write_bytes(bytes(data))
    try:
        damaged = read_certificate(path)
    except InputError:
        return
    # Flags and dates of the archive carry nothing; what is read is what was written.
    assert_equal(damaged, CERTIFICATE)
