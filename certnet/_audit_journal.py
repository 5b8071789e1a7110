"""The journal of an audit: a line for each finished input, so that it is not verified again.

Lines end in a digest of their text. A last line without its end was cut short by whatever stopped the audit, and is
left out; any other line that does not fit is damage.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from certificates.certificate import fingerprint
from certificates.files import write_atomically
from certnet._audit import ATTACKED, CERTIFIED, UNDECIDED, InputAudit
from formulations import InputError
from formulations._validation import FloatArray
from formulations.robustness import ReluNetwork

FORMAT = "certnet-audit-journal 1"
LARGEST_BYTES = 1 << 30


def audit_fingerprint(network: ReluNetwork, X: FloatArray, Y: FloatArray, options: Mapping[str, Any]) -> str:
    """SHA-256 of the network, the inputs X (n×d) with targets Y (n×c), and options that change results."""
    digest = hashlib.sha256(fingerprint(X, Y).encode())
    digest.update(fingerprint(network.hidden, network.hidden_bias[:, None]).encode())
    digest.update(fingerprint(network.output, network.output_bias[:, None]).encode())
    digest.update(json.dumps(options, sort_keys=True).encode())
    return digest.hexdigest()


class Journal:
    """Appends finished inputs to a file, each flushed to the disk."""

    def __init__(self, path: Path, identity: str) -> None:
        self.path, self._identity = path, identity

    def read(self, radii: int) -> dict[int, InputAudit]:
        """Finished inputs by row; none if there is no file. What was cut short is removed from the file.

        Raises:
            InputError: the journal is of another audit, or damaged.
        """
        if not self.path.exists():
            return {}
        try:
            if self.path.stat().st_size > LARGEST_BYTES:
                raise InputError(self._damaged())
            text = self.path.read_text(encoding="utf-8")
            whole, end, rest = text.rpartition("\n")
            lines = whole.split("\n") if end else []
            if rest:
                kept = whole + end
                write_atomically(self.path, lambda file: _write(file, kept))
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror or error}.") from None
        except UnicodeDecodeError:
            raise InputError(self._damaged()) from None
        if not lines:
            return {}
        try:
            head = _value(lines[0])
            if head != {"format": FORMAT, "audit": head["audit"]}:
                raise ValueError(FORMAT)
            entries = [_entry(_value(line), radii) for line in lines[1:]] if head["audit"] == self._identity else None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InputError(self._damaged()) from None
        if entries is None:
            raise InputError(
                f"{self.path} is the journal of an audit of another network, other data or other options; choose "
                "another --out, or add --fresh to replace it."
            )
        return {entry.row: entry for entry in entries}

    def begin(self) -> None:
        """Start an empty journal in place of whatever is there."""
        write_atomically(self.path, lambda file: _write(file, _line({"format": FORMAT, "audit": self._identity})))

    def add(self, entry: InputAudit) -> None:
        """Append one input. The file comes with the first one, so that an audit that cannot start leaves none."""
        if not self.path.exists() or not self.path.stat().st_size:
            self.begin()
        value = {
            name: None if isinstance(part, float) and not math.isfinite(part) else part
            for name, part in asdict(entry).items()
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(value))
            file.flush()
            os.fsync(file.fileno())

    def _damaged(self) -> str:
        return f"{self.path} is damaged or no journal of an audit; choose another --out, or add --fresh to replace it."


def _write(file: Any, text: str) -> None:
    file.write(text.encode())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _line(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, allow_nan=False)
    return f"{text}\t{_digest(text)}\n"


def _value(line: str) -> dict[str, Any]:
    text, _, digest = line.rpartition("\t")
    if digest != _digest(text):
        raise ValueError(line)
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError(line)
    return value


def _entry(value: dict[str, Any], radii: int) -> InputAudit:
    """The record of a line; raises ValueError, KeyError or TypeError if it is none."""
    status = tuple(value["status"])
    entry = InputAudit(
        **{
            **value,
            "status": status,
            "margin": np.inf if value["margin"] is None else float(value["margin"]),
            "attacked_radius": np.inf if value["attacked_radius"] is None else float(value["attacked_radius"]),
        }
    )
    if len(status) != radii or not set(status) <= {CERTIFIED, ATTACKED, UNDECIDED} or entry.reached is not True:
        raise ValueError(status)
    return entry
