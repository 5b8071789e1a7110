"""A journal of finished pieces of a long job, a line for each, so that they are not worked on again.

Lines hold what cannot be computed quickly, such as a proof or a counterexample. Both are confirmed by whoever reads
them. Lines end in a digest of their text. A last line without its end was cut short by whatever stopped the job, and is
left out; any other line that does not fit is damage. Digests tell damage, not lies.
A proof is the arrays of its cases in a few kB, without the network and the property: who reads it attaches it to those
in question, and has the checker decide.
"""

import base64
import hashlib
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

import msgspec
import numpy as np

from certificates import Certificate, Robustness, Verdict, check, fingerprint, read_certificate, write_certificate
from certificates.certificate import CaseProof
from certificates.files import write_atomically
from certificates.layout import CASE_PROOF, MAX_CASES, Array, Each, made_of, members
from formulations import InputError
from formulations.network import ReluNetwork

_PROOFS = Each(CASE_PROOF)
LARGEST_BYTES = 1 << 30
LARGEST_PROOF, LARGEST_TEXT = 1 << 25, 1 << 20  # Bytes of a proof's arrays together, and of their text.
T = TypeVar("T")


class Journal(Generic[T]):
    """The file of a job.

    Args:
        path: where it is.
        head: its first line: the format, and whatever decides what the other lines mean.
        kind: of a line.
        job: as in "an audit".
        about: what another head is about, in words.

    Attributes:
        notes: what could not be written, in a sentence. The next line is tried again.
    """

    def __init__(self, path: Path, head: Mapping[str, Any], kind: type[T], job: str, about: str) -> None:
        self.path, self._head, self._kind, self._job, self._about = path, head, kind, job, about
        self.notes: list[str] = []

    def read(self, fits: Callable[[T], bool]) -> list[T]:
        """The lines; none if there is no file. What was cut short is removed from it.

        A line of the right kind that does not fit this job is damage, which is refused as another head is.
        """
        if not self.path.exists():
            return []
        instead = "choose another --out, or add --fresh to replace it"
        damaged = InputError(f"{self.path} is damaged or no journal of {self._job}; {instead}.")
        try:
            if not self.path.is_file() or self.path.stat().st_size > LARGEST_BYTES:
                raise damaged
            whole, end, rest = self.path.read_bytes().rpartition(b"\n")
            if rest:
                self._replace(whole + end)
            if not end:
                return []
            first, *lines = whole.split(b"\n")
            if _value(first, dict) != self._head:
                raise InputError(
                    f"{self.path} is the journal of {self._job} of {self._about}, or of another version of certnet; "
                    f"{instead}."
                )
            found = [_value(line, self._kind) for line in lines]
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror or error}.") from None
        except InputError:
            raise
        except (ValueError, RecursionError):
            raise damaged from None
        if not all(map(fits, found)):
            raise damaged
        return found

    def restart(self) -> None:
        """Empty a journal that is there; a job that cannot start leaves none."""
        if self.path.exists():
            self._replace(_line(self._head))

    def keep(self, value: T, certificates: Mapping[Path, Certificate]) -> None:
        """Keep a line, and certificates first, so that no line speaks of one that is missing."""
        try:
            for place, certificate in certificates.items():
                write_certificate(place, certificate)
            self._append(_line(value))
        except OSError as error:
            self.notes[:] = [
                f"Journal or certificates could not be written ({error.strerror or error}); make room and run the same "
                "command again."
            ]

    def _append(self, line: bytes) -> None:
        """Add a line. The file comes with the first one; where a line cannot be written it is as it was."""
        if not self.path.exists() or not self.path.stat().st_size:
            self._replace(_line(self._head))
        with self.path.open("ab", buffering=0) as file:
            size = file.tell()
            try:
                while line:
                    line = line[file.write(line) :]
                os.fsync(file.fileno())
            except BaseException:
                # A part of a line would spoil the lines that follow.
                file.truncate(size)
                raise

    def _replace(self, content: bytes) -> None:
        def write(file: BinaryIO) -> None:
            file.write(content)

        write_atomically(self.path, write)


def digest_of(before: bytes, network: ReluNetwork, after: bytes = b"") -> str:
    """SHA-256 in hexadecimal digits of a network between other bytes, by which a line belongs to a question."""
    layers = (network.hidden, network.hidden_bias), (network.output, network.output_bias)
    own = "".join(fingerprint(weights, bias[:, None]) for weights, bias in layers)
    return hashlib.sha256(before + own.encode() + after).hexdigest()


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:16].encode()


def _line(value: object) -> bytes:
    text = msgspec.json.encode(value)
    return b"%s\t%s\n" % (text, _digest(text))


def _value(line: bytes, kind: type[T]) -> T:
    """The value of a line; raises ValueError if it is none of this kind."""
    text, _, digest = line.rpartition(b"\t")
    if digest != _digest(text):
        raise ValueError(line)
    return msgspec.json.decode(text, type=kind)


def is_proved(statement: Robustness, proofs: Sequence[CaseProof] | None, time_limit: float | None) -> bool:
    """Whether recalled proofs are of a statement's cases, and the checker accepts them now."""
    if proofs is None or len(proofs) != len(statement.cases):
        return False
    return check(Certificate(statement, tuple(proofs)), time_limit=time_limit).verdict is Verdict.PROVED


def pack(certificate: Certificate | None) -> dict[str, Any] | None:
    """The proofs as a JSON object of shapes by name and of bytes; None without any, or where it would be too large."""
    proofs = () if certificate is None else certificate.proofs
    arrays = {name: np.asarray(value, dtype) for name, (dtype, _), value in members(_PROOFS, proofs, "")}
    raw = b"".join(array.tobytes() for array in arrays.values())
    text = base64.b64encode(zlib.compress(raw)).decode()
    if certificate is None or len(raw) > LARGEST_PROOF or len(text) > LARGEST_TEXT or len(proofs) > MAX_CASES:
        return None
    return {"cases": len(proofs), "shapes": {name: list(array.shape) for name, array in arrays.items()}, "data": text}


def recalled(place: Path | None, packed: Any) -> Sequence[CaseProof] | None:
    """The proofs of a certificate that was kept at a place, or without one those of a line; None where there are none.

    Nothing in them is believed.
    """
    if place is None:
        return unpack(packed)
    try:
        return read_certificate(place, Robustness).proofs
    except (InputError, OSError):
        return None


def unpack(packed: Any) -> tuple[CaseProof, ...] | None:
    """The proofs of such an object; None where it is none. Nothing in them is believed."""
    first = 0

    def take(name: str, kind: Array) -> Any:
        nonlocal first
        (dtype, dimensions), shape = kind, shapes.pop(name)
        sizes = [size for size in shape if type(size) is int and 0 <= size <= LARGEST_PROOF]
        count = int(np.prod(sizes, dtype=object))
        if len(sizes) != len(shape) or len(shape) != dimensions or first + 8 * count > len(raw):
            raise ValueError(shape)
        array = np.frombuffer(raw, dtype, count, first).reshape(sizes)
        first += 8 * count
        return array if dimensions else float(array)

    try:
        raw = zlib.decompressobj().decompress(base64.b64decode(packed["data"], validate=True), LARGEST_PROOF)
        shapes, cases = dict(packed["shapes"]), min(packed["cases"], MAX_CASES)
        proofs: tuple[CaseProof, ...] = made_of(_PROOFS, "", take, {*shapes}, cases)
    except (KeyError, TypeError, ValueError, zlib.error):
        return None
    return proofs if first == len(raw) and not shapes else None
