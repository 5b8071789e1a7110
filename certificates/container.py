"""The certificate file: a zip with one JSON manifest and raw little-endian arrays. Specified in
docs/certificate-format.md.

Reading trusts nothing: member names, sizes and hashes are checked against the manifest before anything is allocated,
and the total is limited in bytes and in ratio to the file's size. No pickle, no code, no paths.
"""

import hashlib
import json
import math
import operator
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from certificates.certificate import OptimalityCertificate
from certificates.files import write_atomically
from certificates.proof import Circuits, LiftedProof, Triangles
from certificates.subdivision import Subdivision
from formulations.arguments import accepts, location
from formulations.errors import InputError

FORMAT = "certnet-certificate"
VERSION, SUBDIVISION_VERSION = 1, 2
"""Of files with a ``LiftedProof``, and of optimality certificates with a ``Subdivision``."""
KIND = "optimality"
KINDS = {KIND: (VERSION, SUBDIVISION_VERSION), "robustness": (VERSION,), "lipschitz": (VERSION, 2)}
"""The kinds of certificates and their versions."""
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1 << 20
MAX_TOTAL_BYTES = 2 << 30
FREE_BYTES = 64 << 20
MAX_RATIO = 200

DATA: dict[str, tuple[str, int]] = {
    "X": ("<f8", 2),
    "Y": ("<f8", 2),
    "W": ("<f8", 2),
    "source": ("<i8", 1),
    "generator": ("<i8", 1),
    "U": ("<f8", 2),
    "V": ("<f8", 2),
}
"""Type and number of dimensions of the arrays of an optimality certificate besides its proof."""
PROOF: dict[str, tuple[str, int]] = {
    "proof/split": ("<i8", 1),
    "proof/children": ("<i8", 2),
    "proof/leaf": ("<i8", 1),
    "proof/pair_offset": ("<i8", 1),
    "proof/pairs": ("<i8", 2),
    "proof/multipliers": ("<f8", 1),
    "proof/complementarity": ("<f8", 2),
    "proof/sigma": ("<f8", 2),
    "proof/empty_offset": ("<i8", 1),
    "proof/empty_support": ("<i8", 1),
    "proof/circuits/target": ("<i8", 1),
    "proof/circuits/offset": ("<i8", 1),
    "proof/circuits/support": ("<i8", 1),
    "proof/triangles/neuron": ("<i8", 1),
    "proof/triangles/bounds": ("<f8", 2),
    "proof/triangles/offset": ("<i8", 1),
    "proof/triangles/support": ("<i8", 1),
}
"""The arrays of a ``LiftedProof``."""
SUBDIVISION: dict[str, tuple[str, int]] = {
    "proof/basis": ("<f8", 2),
    "proof/codes": ("<i8", 1),
    "proof/positions": ("<f8", 1),
}
ARRAYS = {VERSION: {**DATA, **PROOF}, SUBDIVISION_VERSION: {**DATA, **SUBDIVISION}}
"""The arrays of an optimality certificate, by version."""
_EPOCH = (1980, 1, 1, 0, 0, 0)

T = TypeVar("T")


def _value(certificate: OptimalityCertificate, name: str) -> NDArray[Any]:
    """The array that a member holds: slashes are attributes."""
    value: NDArray[Any] = operator.attrgetter(name.replace("/", "."))(certificate)
    return value


def _group(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """The arrays directly below a prefix."""
    below = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    return {name: array for name, array in below.items() if "/" not in name}


def _member(name: str) -> str:
    return f"arrays/{name}.bin"


@accepts(path=location, certificate=OptimalityCertificate)
def write_certificate(path: Path | str, certificate: OptimalityCertificate) -> None:
    """Write a certificate atomically. Equal certificates give equal bytes.

    Raises:
        OSError: the folder is missing or read-only, or the disk is full.
    """
    n, d, c = certificate.shape
    version = SUBDIVISION_VERSION if isinstance(certificate.proof, Subdivision) else VERSION
    manifest = {
        "format": FORMAT,
        "version": version,
        "kind": KIND,
        "loss": certificate.loss,
        "gamma": certificate.gamma,
        "bias": certificate.bias,
        "claims": {"lower_bound": certificate.lower_bound, "objective": certificate.objective},
        "data": {"fingerprint": certificate.data_fingerprint, "n": n, "d": d, "c": c},
        "provenance": dict(certificate.provenance),
    }
    values = {name: _value(certificate, name) for name in ARRAYS[version]}
    write_archive(path, manifest, values, {name: dtype for name, (dtype, _) in ARRAYS[version].items()})


def write_archive(
    path: Path | str, manifest: Mapping[str, Any], values: Mapping[str, NDArray[Any]], dtypes: Mapping[str, str]
) -> None:
    """Write a certificate of any kind atomically: the manifest, with the arrays described in it, and the arrays.

    Raises:
        OSError: the folder is missing or read-only, or the disk is full.
    """
    payload: dict[str, bytes] = {}
    arrays: dict[str, Any] = {}
    for name, value in values.items():
        array = np.ascontiguousarray(value, dtype=dtypes[name])
        payload[name] = array.tobytes()
        arrays[name] = {
            "dtype": dtypes[name],
            "shape": list(array.shape),
            "sha256": hashlib.sha256(payload[name]).hexdigest(),
        }
    manifest = {**manifest, "arrays": arrays}
    text = json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False).encode()

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo(MANIFEST, _EPOCH), text, zipfile.ZIP_DEFLATED)
            for name, data in payload.items():
                archive.writestr(zipfile.ZipInfo(_member(name), _EPOCH), data, zipfile.ZIP_DEFLATED)

    write_atomically(path, write)


@accepts(path=location)
def read_certificate(path: Path | str) -> OptimalityCertificate:
    """Read a certificate file; nothing in it is believed, but its shape is checked.

    Raises:
        InputError: the file is missing, unreadable, truncated, damaged, too large, or no certificate of this version.
    """
    return open_archive(path, _read)


def certificate_kind(path: Path | str) -> str:
    """One of ``KINDS``.

    Raises:
        InputError: as ``read_certificate``.
    """
    return open_archive(path, lambda archive, _: str(read_manifest(archive)["kind"]))


def open_archive(path: Path | str, read: Callable[[zipfile.ZipFile, int], T]) -> T:
    """Call ``read`` with the archive and its size on disk; whatever is wrong becomes one sentence.

    Raises:
        InputError: the file is missing, unreadable, truncated, damaged, or what ``read`` complains about.
    """
    file = Path(path)
    try:
        if file.exists() and not file.is_file():
            raise InputError("it is no regular file; give the file itself, not its folder.")
        size = file.stat().st_size
        with zipfile.ZipFile(file) as archive:
            return read(archive, size)
    except InputError as error:
        raise InputError(f"{file} cannot be used as a certificate: {error}") from None
    except FileNotFoundError:
        raise InputError(f"there is no file {file}.") from None
    except MemoryError:
        raise InputError(f"this machine has not enough memory to read {file}.") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror or error}).") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error):
        raise InputError(
            f"{file} is not a certnet certificate, or it is truncated or damaged; write it anew with certnet train."
        ) from None


def _read(archive: zipfile.ZipFile, size: int) -> OptimalityCertificate:
    manifest = read_manifest(archive, KIND)
    is_cut = manifest["version"] == SUBDIVISION_VERSION
    arrays = read_arrays(archive, size, manifest, ARRAYS[manifest["version"]])
    claims, data = subtable(manifest, "claims"), subtable(manifest, "data")
    certificate = OptimalityCertificate(
        **_group(arrays, ""),
        proof=Subdivision(**_group(arrays, "proof/")) if is_cut else lifted_proof(arrays, "proof/"),
        data_fingerprint=_fingerprint(data),
        gamma=_number(manifest, "gamma"),
        bias=_flag(manifest, "bias"),
        lower_bound=_number(claims, "lower_bound"),
        objective=_number(claims, "objective"),
        loss=_text(manifest, "loss"),
        provenance=subtable(manifest, "provenance"),
    )
    for name, length in zip("ndc", certificate.shape, strict=True):
        if type(data.get(name)) is not int or data[name] != length:
            raise InputError(f"the manifest says {name} = {shown(data.get(name))} but the arrays say {length}.")
    return certificate


def proof_arrays(proof: LiftedProof) -> dict[str, NDArray[Any]]:
    """The arrays of a proof by name; ``lifted_proof`` is the inverse."""
    return {name: operator.attrgetter(name.removeprefix("proof/").replace("/", "."))(proof) for name in PROOF}


def lifted_proof(arrays: Mapping[str, NDArray[Any]], prefix: str) -> LiftedProof:
    """The proof whose arrays have this prefix."""
    return LiftedProof(
        **_group(arrays, prefix),
        circuits=Circuits(**_group(arrays, f"{prefix}circuits/")),
        triangles=Triangles(**_group(arrays, f"{prefix}triangles/")),
    )


def read_arrays(
    archive: zipfile.ZipFile, size: int, manifest: Mapping[str, Any], table: Mapping[str, tuple[str, int]]
) -> dict[str, NDArray[Any]]:
    """The arrays of a table of names, dtypes and dimensions; ``size`` is the file's, which limits them.

    Raises:
        InputError: a member is missing, damaged, too large, or does not belong there.
    """
    infos = _members(archive)
    expected = {MANIFEST, *(_member(name) for name in table)}
    if set(infos) != expected:
        odd = sorted(set(infos) ^ expected)[0]
        raise InputError(f"member {shown(odd)} is missing or does not belong there.")
    described = subtable(manifest, "arrays")
    limit = min(MAX_TOTAL_BYTES, FREE_BYTES + MAX_RATIO * size)
    arrays: dict[str, NDArray[Any]] = {}
    for name, (dtype, dimensions) in table.items():
        array = _read_array(archive, infos[_member(name)], subtable(described, name), dtype, dimensions, limit)
        limit -= array.nbytes
        arrays[name] = array
    return arrays


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    infos = {info.orig_filename: info for info in archive.infolist()}
    if len(infos) != len(archive.infolist()):
        raise InputError("a member occurs twice.")
    return infos


def read_manifest(archive: zipfile.ZipFile, kind: str | None = None) -> Mapping[str, Any]:
    """The manifest of a certificate of a known version and of this kind; None stands for any that is known.

    Raises:
        InputError: there is none.
    """
    infos = _members(archive)
    if MANIFEST not in infos:
        raise InputError("it has no manifest; it was not written by certnet.")
    info = infos[MANIFEST]
    if info.file_size > MAX_MANIFEST_BYTES:
        raise InputError(f"its manifest is larger than {MAX_MANIFEST_BYTES} bytes.")
    text = _read_exactly(archive, info, info.file_size)
    try:
        manifest = json.loads(
            text.decode("utf-8"), parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_distinct
        )
        json.dumps(manifest, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError):
        raise InputError("its manifest is no valid JSON.") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InputError("its manifest does not describe a certnet certificate.")
    version = manifest.get("version")
    if type(version) is not int or version not in ARRAYS:
        newest = max(ARRAYS)
        raise InputError(
            f"it has format version {shown(version)} and this certnet reads up to {newest}; update certnet."
        )
    if _text(manifest, "kind") not in KINDS:
        known = " and ".join(map(repr, KINDS))
        raise InputError(f"it is of kind {shown(manifest['kind'])} and this certnet checks {known}; update certnet.")
    if version not in KINDS[manifest["kind"]]:
        raise InputError(f"files of kind {manifest['kind']!r} have format version {VERSION}, not {version}.")
    if kind is not None and manifest["kind"] != kind:
        raise InputError(f"it is of kind {manifest['kind']!r}, and a certificate of kind {kind!r} is needed here.")
    return manifest


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not allowed")


def _finite(text: str) -> float:
    """A decimal number; ValueError for one that is beyond float64."""
    value = float(text)
    return value if math.isfinite(value) else _no_constant(text)


def shown(value: object) -> str:
    """A value from a file as messages show it, however long it is."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are distinct, so that no two readers see different claims."""
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key occurs twice")
    return table


def _read_exactly(archive: zipfile.ZipFile, info: zipfile.ZipInfo, size: int) -> bytes:
    """The member's bytes, never more than ``size``, whatever the zip headers say."""
    if info.flag_bits & 0x1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"member {info.filename!r} is encrypted or compressed in another way than deflate.")
    if info.file_size != size:
        raise InputError(f"member {info.filename!r} has not the {size} bytes that it should have.")
    with archive.open(info) as stream:
        data = stream.read(size + 1)
    if len(data) != size:
        raise InputError(f"member {info.filename!r} has not the {size} bytes that it should have.")
    return data


def _read_array(
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    description: Mapping[str, Any],
    dtype: str,
    dimensions: int,
    limit: int,
) -> NDArray[Any]:
    shape = description.get("shape")
    if (
        description.get("dtype") != dtype
        or not isinstance(shape, list)
        or len(shape) != dimensions
        or not all(type(length) is int and 0 <= length < 2**40 for length in shape)
    ):
        raise InputError(f"the manifest describes {info.filename!r} as something else than {dimensions}-d {dtype}.")
    size = 8 * math.prod(shape)
    if size > limit:
        raise InputError(f"its arrays are larger than allowed ({info.filename!r} needs {size} bytes).")
    data = _read_exactly(archive, info, size)
    if hashlib.sha256(data).hexdigest() != description.get("sha256"):
        raise InputError(f"member {info.filename!r} does not match its SHA-256; the file is damaged.")
    array = np.frombuffer(data, dtype=dtype).reshape(shape).astype(dtype[1:], copy=False)
    array.setflags(write=False)
    return array


def subtable(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = parent.get(key)
    if not isinstance(value, dict):
        raise InputError(f"its manifest has no table {key!r}.")
    return value


def _number(parent: Mapping[str, Any], key: str) -> float:
    value = parent.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"its manifest has no number {key!r}.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InputError(f"the number {key!r} in its manifest is not finite.")
    return number


def _text(parent: Mapping[str, Any], key: str) -> str:
    value = parent.get(key)
    if not isinstance(value, str):
        raise InputError(f"its manifest has no text {key!r}.")
    return value


def _fingerprint(data: Mapping[str, Any]) -> str:
    text = _text(data, "fingerprint")
    if re.fullmatch("[0-9a-f]{64}", text) is None:
        raise InputError("its data fingerprint is not a SHA-256 in lower-case hexadecimal digits.")
    return text


def _flag(parent: Mapping[str, Any], key: str) -> bool:
    value = parent.get(key)
    if not isinstance(value, bool):
        raise InputError(f"its manifest has no true or false under {key!r}.")
    return value
