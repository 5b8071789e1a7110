"""The certificate file: a zip with one JSON manifest and raw little-endian arrays. Specified in
docs/certificate-format.md.

Reading trusts nothing: member names, sizes and hashes are checked against the manifest before anything is allocated,
and the total is limited in bytes and in ratio to the file's size. No pickle, no code, no paths.
"""

import hashlib
import json
import math
import re
import struct
import sys
import zipfile
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from certificates.certificate import Certificate, Robustness
from certificates.files import write_atomically
from certificates.layout import KINDS, Array, Each, Layout, made_of, members
from formulations._validation import shown
from formulations.arguments import accepts, location
from formulations.errors import InputError

FORMAT, VERSION = "certnet-certificate", 5
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1 << 20
MAX_TOTAL_BYTES = 2 << 30
FREE_BYTES = 64 << 20
MAX_RATIO = 200
NEWER = ("semantics",)
"""What older files do not state; its default is meant then."""
_EPOCH = (1980, 1, 1, 0, 0, 0)


@accepts(path=location, certificate=Certificate)
def write_certificate(path: Path | str, certificate: Certificate) -> None:
    """Write a certificate atomically. Equal certificates give equal bytes.

    Raises:
        InputError: it has too many cases for one file, or not one proof for each.
        OSError: the folder is missing or read-only, or the disk is full.
    """
    statement, proofs = certificate.statement, certificate.proofs
    name, kind = next((name, kind) for name, kind in KINDS.items() if kind.statement.make is type(statement))
    cases = len(statement.cases) if isinstance(statement, Robustness) else 1
    if cases > kind.most:
        raise InputError(f"the property has {cases} cases, and a certificate file holds {kind.most}; split it.")
    if cases != len(proofs):
        raise InputError(f"a certificate with {len(proofs)} proofs for {cases} cases cannot be written.")
    payload: dict[str, bytes] = {}
    arrays: dict[str, Any] = {}
    found = [*members(kind.statement, statement, "statement"), *members(Each(kind.proof), proofs, "proofs")]
    for member, (dtype, _), value in found:
        array = np.asarray(value, dtype=dtype)
        payload[member] = array.tobytes()
        digest = hashlib.sha256(payload[member]).hexdigest()
        arrays[member] = {"dtype": dtype, "shape": list(array.shape), "sha256": digest}
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "kind": name,
        "statement": {key: getattr(statement, key) for key in kind.scalars},
        "claims": {key: certificate.claims[key] for key in kind.claims},
        "proofs": len(proofs),
        "arrays": arrays,
        "provenance": dict(certificate.provenance),
    }
    text = json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False).encode()

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, data in {MANIFEST: text, **{_member(key): data for key, data in payload.items()}}.items():
                archive.writestr(zipfile.ZipInfo(member, _EPOCH), data, zipfile.ZIP_DEFLATED)

    write_atomically(path, write)


def _member(name: str) -> str:
    return f"arrays/{name}.bin"


@accepts(path=location)
def read_certificate(path: Path | str, kind: type | None = None) -> Certificate:
    """Read a certificate file; nothing in it is believed, but its shape is checked.

    Args:
        path: of the file.
        kind: class of the statement that is needed; None for any.

    Raises:
        InputError: the file is missing, unreadable, truncated, damaged, too large, or no certificate of this version or
            kind.
    """
    file = Path(path)
    try:
        if file.exists() and not file.is_file():
            raise InputError("it is no regular file; give the file itself, not its folder.")
        size = file.stat().st_size
        with zipfile.ZipFile(file) as archive:
            return _read(archive, size, kind)
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


def _read(archive: zipfile.ZipFile, size: int, wanted: type | None) -> Certificate:
    infos = {info.orig_filename: info for info in archive.infolist()}
    if len(infos) != len(archive.infolist()):
        raise InputError("a member occurs twice.")
    manifest = _read_manifest(archive, infos)
    name = _value(manifest, "kind", str)
    if name not in KINDS:
        known = " and ".join(map(repr, KINDS))
        raise InputError(f"it is of kind {shown(name)} and this certnet checks {known}; update certnet.")
    kind, count = KINDS[name], manifest.get("proofs")
    if wanted not in (None, kind.statement.make):
        needed = next(other for other, entry in KINDS.items() if entry.statement.make is wanted)
        raise InputError(f"it is of kind {name!r}, and a certificate of kind {needed!r} is needed here.")
    if type(count) is not int or not 1 <= count <= kind.most:
        raise InputError(f"its manifest has no number of proofs between 1 and {kind.most}.")
    described, stated = _value(manifest, "arrays", dict), _value(manifest, "statement", dict)
    limit = min(MAX_TOTAL_BYTES, FREE_BYTES + MAX_RATIO * size)

    def take(array: str, as_described: Array) -> Any:
        nonlocal limit
        if _member(array) not in infos:
            raise InputError(f"member {_member(array)!r} is missing.")
        value = _read_array(archive, infos.pop(_member(array)), _value(described, array, dict), as_described, limit)
        limit -= value.nbytes
        return value if as_described[1] else float(value)

    there = {key: known for key, known in kind.scalars.items() if key in stated or key not in NEWER}
    scalars = {key: _value(stated, key, known) for key, known in there.items()}
    layout = Layout(partial(kind.statement.make, **scalars), kind.statement.parts)
    certificate = Certificate(
        made_of(layout, "statement", take, described, count),
        made_of(Each(kind.proof), "proofs", take, described, count),
        {key: _value(_value(manifest, "claims", dict), key, float) for key in kind.claims},
        _value(manifest, "provenance", dict),
    )
    if infos:
        raise InputError(f"member {shown(min(infos))} does not belong there.")
    return certificate


def _read_manifest(archive: zipfile.ZipFile, infos: dict[str, zipfile.ZipInfo]) -> Mapping[str, Any]:
    """The manifest of a certificate of this version, taken out of the members."""
    if MANIFEST not in infos:
        raise InputError("it has no manifest; it was not written by certnet.")
    info = infos.pop(MANIFEST)
    if info.file_size > MAX_MANIFEST_BYTES:
        raise InputError(f"its manifest is larger than {MAX_MANIFEST_BYTES} bytes.")
    text = _read_exactly(archive, info, info.file_size)
    try:
        manifest = json.loads(
            text.decode("utf-8"), parse_constant=_finite, parse_float=_finite, object_pairs_hook=_distinct
        )
        json.dumps(manifest, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError):
        raise InputError("its manifest is no valid JSON.") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InputError("its manifest does not describe a certnet certificate.")
    version = manifest.get("version")
    if type(version) is not int or version != VERSION:
        raise InputError(
            f"it has format version {shown(version)}, and this certnet reads version {VERSION} alone; make it anew."
        )
    return manifest


def _finite(text: str) -> float:
    """A decimal number; ValueError for one that is beyond float64, and for NaN and infinities."""
    if not math.isfinite(float(text)):
        raise ValueError(f"{text} is not allowed")
    return float(text)


def _value(table: Mapping[str, Any], key: str, kind: type | re.Pattern[str]) -> Any:
    """An entry of a JSON object, of this type or a text that matches the whole pattern."""
    value: Any = table.get(key)
    if isinstance(kind, re.Pattern):
        if not isinstance(value, str) or kind.fullmatch(value) is None:
            raise InputError(f"{key!r} in its manifest is not a SHA-256 in lower-case hexadecimal digits.")
    elif not isinstance(value, int | float if kind is float else kind) or isinstance(value, bool):
        wanted = {str: "text", float: "number", dict: "table"}[kind]
        raise InputError(f"its manifest has no {wanted} {key!r}.")
    if kind is not float:
        return value
    number = float(value) if abs(value) <= sys.float_info.max else math.inf
    if not math.isfinite(number):
        raise InputError(f"the number {key!r} in its manifest is not finite.")
    return number


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
    data = b""
    if info.file_size == size:
        with archive.open(info) as stream:
            data = stream.read(size + 1)
    if len(data) != size or info.file_size != size:
        raise InputError(f"member {info.filename!r} has not the {size} bytes that it should have.")
    return data


def _read_array(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, description: Mapping[str, Any], as_described: Array, limit: int
) -> Any:
    (dtype, dimensions), shape = as_described, description.get("shape")
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
