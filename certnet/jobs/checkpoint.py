"""Checkpoints of long jobs: what is needed to go on, in one ``.npz`` file without pickled objects.

A checkpoint is no proof and is never trusted as one: whatever it holds, bounds are repaired and checked anew. Reading
checks sizes before anything is allocated. Members are stored uncompressed, so that no file unfolds beyond its size.
"""

import hashlib
import io
import json
import math
import platform
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from certificates import fingerprint
from certificates.files import write_atomically
from certnet.runtime.machine import blas, versions
from certnet.solvers.interface import State
from formulations import Dual, InputError, TrainingProgram
from formulations._validation import FloatArray

FORMAT = "certnet-checkpoint"
VERSION = 1
MAX_HEADER_BYTES = 1 << 20
MAX_MEMBERS = 1000
_HEADER = "header"
_STATE = "state/"
_SEARCH = "search/"
_NETWORK = ("network/U", "network/V")
_DUAL = ("dual/W", "dual/N")
_KINDS = "biuf"


@dataclass(frozen=True, eq=False, kw_only=True)
class Checkpoint:
    """Where a training job stood.

    Attributes:
        fingerprint: ``program_fingerprint`` of the training program.
        stage: the stage that was running or had just ended.
        seconds: time that the job had taken so far, over all its runs.
        solver: the solver of the relaxation by its own name, never "auto".
        tolerance, random_state, device: as the job was started with.
        environment: versions, threads and machine, see ``environment``.
        lower_bound: what ``dual`` proved when it was repaired, in original units; information only.
        state: the solver's own state, or None where it has none or had not begun.
        dual: the best dual so far, of the presolved program, or None.
        U, V: the best network so far (d×m, c×m), or None.
        search: the state of the branch and bound that was cut short, or None.
        about: a JSON object of whoever asked for the checkpoint, such as the recipe of the data.
    """

    fingerprint: str
    stage: str
    seconds: float
    solver: str
    tolerance: float
    random_state: int
    device: str = "cpu"
    environment: Mapping[str, Any] = field(default_factory=dict)
    lower_bound: float = -math.inf
    state: State | None = None
    dual: Dual | None = None
    U: FloatArray | None = None
    V: FloatArray | None = None
    search: State | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


_TEXTS = ("fingerprint", "stage", "solver", "device")
_NUMBERS = ("seconds", "tolerance")
_TABLES = ("environment", "about")


def program_fingerprint(program: TrainingProgram) -> str:
    """SHA-256 in hexadecimal digits of X, Y, γ and the bias flag."""
    digest = hashlib.sha256(fingerprint(program.X, program.Y).encode())
    digest.update(struct.pack("<d?", program.gamma, program.bias))
    return digest.hexdigest()


def environment() -> dict[str, Any]:
    """What has to be equal for equal bits: versions, the BLAS libraries with their threads, and the kind of machine."""
    libraries = [
        " ".join(str(library[key]) for key in ("internal_api", "version", "architecture") if library[key])
        for library in blas()
    ]
    threads = sorted({int(library["num_threads"]) for library in blas() if library["internal_api"] != "openmp"})
    found = versions()
    return {
        "certnet": found["certnet"],
        "numpy": found["numpy"],
        "scipy": found["scipy"],
        "BLAS": ", ".join(sorted(set(libraries))),
        "BLAS threads": ", ".join(str(count) for count in threads),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def usable_state(stored: Checkpoint, now: Checkpoint) -> tuple[State | None, str]:
    """The state to go on from, or None and what keeps it from being used."""
    if stored.solver != now.solver:
        return None, f"it is of solver {stored.solver} and not of {now.solver}"
    if stored.state is None:
        return None, f"it has no state of solver {now.solver}"
    return stored.state, ""


def differences(stored: Checkpoint, now: Checkpoint) -> str:
    """What may keep a resumed solve from going on bit for bit; empty when everything is the same."""
    pairs = [(name, getattr(stored, name), getattr(now, name)) for name in ("tolerance", "random_state", "device")]
    pairs += [(name, stored.environment.get(name, "unknown"), value) for name, value in now.environment.items()]
    return "; ".join(f"{name} was {before} and is {after}" for name, before, after in pairs if before != after)


def write_checkpoint(path: Path | str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically: an interruption leaves the one before.

    Raises:
        OSError: the folder is missing or read-only, or the disk is full.
    """
    header = {
        "format": FORMAT,
        "version": VERSION,
        **{name: getattr(checkpoint, name) for name in _TEXTS},
        **{name: float(getattr(checkpoint, name)) for name in _NUMBERS},
        **{name: dict(getattr(checkpoint, name)) for name in _TABLES},
        "random_state": int(checkpoint.random_state),
        "lower_bound": float(checkpoint.lower_bound) if math.isfinite(checkpoint.lower_bound) else None,
        "has_state": checkpoint.state is not None,
    }
    text = json.dumps(header, allow_nan=False).encode()
    arrays: dict[str, NDArray[Any]] = {_HEADER: np.frombuffer(text, dtype=np.uint8)}
    if checkpoint.U is not None and checkpoint.V is not None:
        arrays.update(zip(_NETWORK, (checkpoint.U, checkpoint.V), strict=True))
    if checkpoint.dual is not None:
        arrays.update(zip(_DUAL, (checkpoint.dual.W, checkpoint.dual.N), strict=True))
    for name, array in (checkpoint.state or {}).items():
        arrays[_STATE + name] = np.asarray(array)
    for name, array in (checkpoint.search or {}).items():
        arrays[_SEARCH + name] = np.asarray(array)
    if any(array.dtype.kind not in _KINDS for array in arrays.values()):
        raise TypeError("a solver's state may hold only booleans, integers and floats")

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
    try:
        with zipfile.ZipFile(file) as archive:
            return _checkpoint(_arrays(archive, file.stat().st_size))
    except InputError as error:
        raise InputError(f"{file} cannot be resumed from: {error}") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror or error}).") from None
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error, SyntaxError):
        raise InputError(f"{file} is no checkpoint, or it is damaged; train again without --resume.") from None


def _arrays(archive: zipfile.ZipFile, size: int) -> dict[str, NDArray[Any]]:
    """All arrays, none of which can be larger than the file's own ``size`` bytes, nor all of them together."""
    members = archive.infolist()
    if len(members) > MAX_MEMBERS or sum(info.file_size for info in members) > size:
        raise InputError("it claims to hold more than it can.")
    arrays: dict[str, NDArray[Any]] = {}
    for info in members:
        name = info.filename.removesuffix(".npy")
        if name in arrays or info.compress_type != zipfile.ZIP_STORED:
            raise InputError(f"member {info.filename!r} was not written by certnet.")
        arrays[name] = _array(info.filename, archive.read(info))
    return arrays


def _array(name: str, data: bytes) -> NDArray[Any]:
    """One array of an .npy member; unlike ``numpy.load`` it allocates nothing that the file does not fill."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise InputError(f"member {name!r} has an unknown version.")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if (
        dtype.kind not in _KINDS
        or len(data) - stream.tell() != math.prod(shape) * dtype.itemsize
        or min(shape, default=0) < 0
    ):
        raise InputError(f"member {name!r} is no plain array of numbers.")
    array = np.frombuffer(data, dtype=dtype, offset=stream.tell())
    # A copy, because the alignment of the memory may decide about the last bits of a product.
    return array.reshape(shape, order="F" if fortran else "C").copy(order="K")


def _checkpoint(arrays: dict[str, NDArray[Any]]) -> Checkpoint:
    header = _header(arrays.pop(_HEADER, None))
    state = {name.removeprefix(_STATE): arrays.pop(name) for name in [*arrays] if name.startswith(_STATE)}
    search = {name.removeprefix(_SEARCH): arrays.pop(name) for name in [*arrays] if name.startswith(_SEARCH)}
    U, V = _pair(arrays, _NETWORK)
    W, N = _pair(arrays, _DUAL)
    if arrays:
        raise InputError(f"member {min(arrays)!r} does not belong there.")
    if (
        U is not None
        and V is not None
        and not (U.shape[1] == V.shape[1] and np.isfinite(U).all() and np.isfinite(V).all())
    ):
        raise InputError("its network is damaged.")
    bound = header["lower_bound"]
    return Checkpoint(
        **{name: _typed(header, name, str) for name in _TEXTS},
        **{name: _typed(header, name, float) for name in _NUMBERS},
        **{name: _typed(header, name, dict) for name in _TABLES},
        random_state=_typed(header, "random_state", int),
        lower_bound=-math.inf if bound is None else _typed(header, "lower_bound", float),
        state=state if _typed(header, "has_state", bool) else None,
        dual=None if W is None or N is None else Dual(W, N),
        U=U,
        V=V,
        search=search or None,
    )


def _header(encoded: NDArray[Any] | None) -> dict[str, Any]:
    if encoded is None or encoded.dtype != np.uint8 or encoded.size > MAX_HEADER_BYTES:
        raise InputError("it has no header; it was not written by certnet.")
    try:
        header = json.loads(encoded.tobytes().decode("utf-8"))
    except (ValueError, RecursionError):
        raise InputError("its header is damaged.") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise InputError("its header does not describe a checkpoint.")
    if header.get("version") != VERSION:
        raise InputError(f"it has version {header.get('version')!r} and this certnet reads version {VERSION}.")
    return header


def _typed(header: Mapping[str, Any], name: str, kind: type) -> Any:
    """An entry of the header that is of this type, and finite if it is a number."""
    value = header.get(name)
    if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
        raise InputError(f"its header is damaged at {name!r}.")
    return value


def _pair(arrays: dict[str, NDArray[Any]], names: tuple[str, str]) -> tuple[FloatArray, FloatArray] | tuple[None, None]:
    """Both float matrices of these names, or neither."""
    first, second = (arrays.pop(name, None) for name in names)
    if first is None and second is None:
        return None, None
    if first is None or second is None or any(a.dtype != np.float64 or a.ndim != 2 for a in (first, second)):
        raise InputError(f"its arrays {names[0]} and {names[1]} are damaged.")
    return first, second
