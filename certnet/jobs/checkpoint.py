"""Checkpoints of long jobs: network, dual and search tree to go on from, in one ``.npz`` file without pickled objects.

A checkpoint is no proof and is never trusted as one: whatever it holds, bounds are repaired and checked anew. Members
are stored uncompressed, so that no file unfolds beyond its size.
"""

import hashlib
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from certificates import fingerprint
from certificates.files import write_atomically
from certnet.io.packed import npz_arrays
from certnet.jobs.clock import JobClock
from certnet.solvers.interface import State, without_prefix
from formulations import Dual, InputError, TrainingProgram
from formulations._validation import FloatArray
from formulations.groups import GroupedDual
from formulations.losses import name_of

BYTES_PER_SECOND = 4e8  # At which a disk takes a checkpoint, at least.
_MATRICES = {"network": "UV", "dual": "NW", "iterate": "NSW"}
"""Names of the matrices in these parts of a file, in order; the others hold any arrays of numbers."""

EVERY_SECONDS = 60.0  # Seconds between two checkpoints, at least.
SHARE = 0.03  # Share of the time that may go into checkpoints while the job runs.
FIRST_COST = 0.05  # Seconds that the first is taken to cost.
LAST_SECONDS = 0.5  # What the last checkpoint may take of however short a job.


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Where a training job stood.

    Attributes:
        fingerprint: ``program_fingerprint`` of the training program.
        stage: the stage that was running or had just ended.
        seconds: time that the job had taken so far, over all its runs.
        solver: the solver of the relaxation by its own name, never "auto".
        dual: the best dual so far, of the presolved program, perhaps with products within groups, or None.
        U, V: the best network so far (d×m, c×m), or None.
        iterate: S and dual of the solver's last iterate, or None where it had none to show.
        search: the state of the branch and bound that was cut short, or None.
        about: a JSON object of whoever asked for the checkpoint, such as the recipe of the data.
    """

    fingerprint: str
    stage: str
    seconds: float
    solver: str = ""
    dual: Dual | None = None
    U: FloatArray | None = None
    V: FloatArray | None = None
    iterate: tuple[FloatArray, Dual] | None = None
    search: State | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """About the size of its matrices in the file."""
        return sum(array.nbytes for name, array in self.arrays().items() if not name.startswith("network"))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """By their names in the file."""
        S, own = (None, None) if self.iterate is None else self.iterate
        grouped = self.dual.arrays() if isinstance(self.dual, GroupedDual) else {}
        dual, last = ({} if one is None else {"W": one.W, "N": one.N} for one in (self.dual, own))
        parts: dict[str, Mapping[str, Any]] = {
            "network": {"U": self.U, "V": self.V},
            "dual": {} if grouped else dual,
            "iterate": {"S": S, **last},
            "search": self.search or {},
            "groups": grouped,
        }
        every = ((f"{part}/{name}", array) for part, named in parts.items() for name, array in named.items())
        return {name: np.asarray(array) for name, array in every if array is not None}


def program_fingerprint(program: TrainingProgram) -> str:
    """SHA-256 in hexadecimal digits of X, Y, weights, γ, the loss and the kinds of bias."""
    digest = hashlib.sha256(fingerprint(program.X, program.Y, program.loss.sample_weight).encode())
    digest.update(struct.pack("<d", program.gamma))
    digest.update("|".join([name_of(program.loss.kind), program.hidden_bias, program.output_bias]).encode())
    return digest.hexdigest()


class _Header(msgspec.Struct, forbid_unknown_fields=True, tag_field="format", tag="certnet-checkpoint"):
    version: Literal[3]
    fingerprint: str
    stage: str
    seconds: float
    solver: str
    about: dict[str, Any]


def write_checkpoint(path: Path | str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically, or raise OSError: an interruption leaves the one before."""
    one = checkpoint
    header = _Header(3, one.fingerprint, one.stage, one.seconds, one.solver, dict(one.about))
    arrays = {"header": np.frombuffer(msgspec.json.encode(header), dtype=np.uint8), **one.arrays()}
    if any(array.dtype.kind not in "biuf" for array in arrays.values()):
        raise TypeError("the state of a search may hold only booleans, integers and floats")

    def write(file: BinaryIO) -> None:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy also names an option there

    write_atomically(path, write)


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Read a checkpoint file; its shape is checked, what it holds is not believed.

    Raises:
        InputError: the file is missing, damaged, no checkpoint of this version, or holds objects.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"There is no checkpoint {file}; it stays behind when certnet train is cut short.")
    damaged = f"{file} is no checkpoint of this version of certnet, or it is damaged; train again without --resume."
    try:
        _, stored = npz_arrays(file, damaged, largest=file.stat().st_size)
        return _checkpoint({name: array.copy(order="K") for name, array in stored.items()})
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror or error}).") from None
    except (ValueError, RecursionError):
        raise InputError(damaged) from None


def _checkpoint(arrays: dict[str, NDArray[Any]]) -> Checkpoint:
    """Raises ValueError where they are none of a checkpoint."""
    header = msgspec.structs.asdict(msgspec.json.decode(arrays.pop("header", np.zeros(0)).tobytes(), type=_Header))
    del header["version"]
    parts = {part: without_prefix(arrays, f"{part}/") for part in (*_MATRICES, "search", "groups")}
    network, dual, last, search, groups = parts.values()
    damaged = sum(map(len, parts.values())) != len(arrays)
    damaged |= any(array.dtype.kind not in "biuf" for array in search.values())
    for part, names in _MATRICES.items():
        damaged |= "".join(sorted(parts[part])) not in ("", names)
        damaged |= any(array.dtype != np.float64 or array.ndim != 2 for array in parts[part].values())
    if not damaged and network:
        damaged = (
            network["U"].shape[1] != network["V"].shape[1]
            or not np.isfinite(np.vstack([network["U"], network["V"]])).all()
        )
    if damaged:
        raise ValueError(damaged)
    return Checkpoint(
        **header,
        U=network.get("U"),
        V=network.get("V"),
        dual=GroupedDual.of_arrays(groups) if groups else Dual(**dual) if dual else None,
        iterate=(last["S"], Dual(last["W"], last["N"])) if last else None,
        search=search or None,
    )


Save = Callable[[Checkpoint], None]
"""Takes a checkpoint, and keeps it."""


class Saver:
    """Keeps the newest checkpoint of a job, and hands it over when it is due; with ``save`` None it is never due."""

    def __init__(self, first: Checkpoint, save: Save | None, clock: JobClock) -> None:
        self.current = self._saved = first
        self._save, self._clock, self._earlier = save, clock, first.seconds
        self._writing, self._cost, self._written = 0.0, FIRST_COST, clock.seconds
        self._failure = ""

    def update(self, **changes: Any) -> None:
        """Change entries of the checkpoint at hand; what nobody saves is not kept in memory."""
        if self._save is not None:
            self.current = replace(self.current, **changes)

    def look(self, changes: Callable[[], Mapping[str, Any]] = dict) -> None:
        """Write what is new with these changes, which are computed only when a checkpoint is due.

        What writing costs must stay a small share of the time.
        """
        begin = self._clock.seconds
        if self._save is None or begin - self._written < max(EVERY_SECONDS, self._cost / SHARE):
            return
        if found := changes():
            self.update(**found)
        if self.current is not self._saved:
            self._write(begin)

    def stage_ends(self, stage: str) -> None:
        """Write at the end of a stage, unless the job is so young that this would cost it more than its share."""
        self.update(stage=stage)
        if self._writing + self._cost <= SHARE * self._clock.seconds:
            self._write(self._clock.seconds)

    def write_last(self) -> None:
        """Write at the end. What would take more than its share is left out, the network never."""
        if self.current.nbytes / BYTES_PER_SECOND > self._most(self._clock.seconds):
            if self._saved.nbytes:
                return  # What was written on the way is worth more.
            self.update(dual=None, iterate=None, search=None)
        self._write(self._clock.seconds)

    def reserve(self, order: int) -> float:
        """Seconds that ``write_last`` will take at most, for a lifted space of this order."""
        whole = self._clock.seconds + (self._clock.left() or 0.0)
        full = max(32 * order**2 / BYTES_PER_SECOND, 1.5 * self._cost)
        return 0.0 if self._save is None else min(full, self._most(whole))

    def _write(self, begin: float) -> None:
        """Write now; what it costs counts from ``begin``. A failure is noted, and later there is another attempt."""
        if self._save is None:
            return
        self.update(seconds=self._earlier + self._clock.seconds)
        failure = ""
        try:
            self._save(self.current)
            self._saved = self.current
        except OSError as error:
            failure = str(error.strerror or error)
        if failure != self._failure:
            note = f"No checkpoint can be written ({failure}); the job goes on and will try again."
            self._clock.note(self.current.stage, note if failure else "Checkpoints can be written again.")
        self._failure, self._written = failure, self._clock.seconds
        self._cost = self._written - begin
        self._writing += self._cost

    @staticmethod
    def _most(seconds: float) -> float:
        return max(LAST_SECONDS, SHARE * seconds)
