"""Coverage-guided fuzzing of the certificate readers, and of the checkers for what the readers accept.

Not a test of pytest. The fuzzer needs atheris, and of certnet only what the checkers need; the seeds need all of it:

    python -m tests.fuzz.seeds corpus
    pip install atheris
    OPENBLAS_NUM_THREADS=1 python tests/fuzz/fuzz_container.py corpus -max_total_time=300 -rss_limit_mb=1024 -timeout=10

The options are libFuzzer's. Only ``InputError`` may leave a reader, nothing may leave a checker, and what is proved may
not be false at a few points (``tests.fuzz.examine``). Anything else, too much memory or too much time stops the run;
libFuzzer then writes the input to a file, which reproduces the failure if given in place of the folder.

A changed byte seldom survives the CRC-32 and the SHA-256 of an archive. So three mutations of four change one member
and pack the archive again with true sums; the fourth changes the file itself.
"""

import contextlib
import hashlib
import io
import json
import random
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

MEMBER_LIMIT = 1 << 16
CHECK_SECONDS = 2.0


def unpack(data: bytes) -> dict[str, bytes]:
    """Members by name; empty if the data are no archive of small members."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if any(info.file_size > MEMBER_LIMIT for info in archive.infolist()):
                return {}
            return {info.filename: archive.read(info) for info in archive.infolist()}
    except Exception:  # noqa: BLE001 - zipfile and zlib raise a dozen kinds; such data are mutated as they are
        return {}


def pack(members: dict[str, bytes]) -> bytes:
    """A stored archive, with true hashes, and true lengths of vectors, in the manifest where it has such entries."""
    try:
        manifest: Any = json.loads(members["manifest.json"])
        for name, entry in manifest["arrays"].items():
            raw = members[f"arrays/{name}.bin"]
            entry["sha256"] = hashlib.sha256(raw).hexdigest()
            if len(entry["shape"]) == 1:
                entry["shape"] = [len(raw) // 8]
        members = members | {"manifest.json": json.dumps(manifest).encode()}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        pass  # a manifest that is broken is worth reading as well
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, raw in members.items():
            archive.writestr(zipfile.ZipInfo(name), raw)
    return buffer.getvalue()


def main() -> None:
    """Fuzz until libFuzzer stops."""
    import atheris

    for name in [name for name in sys.modules if name.partition(".")[0] in ("zipfile", "json")]:
        del sys.modules[name]
    sys.path.insert(0, str(Path(__file__).parents[2]))
    with atheris.instrument_imports(include=["zipfile", "json", "certificates"]):
        from formulations import InputError
        from tests.fuzz.examine import examine as examine_file

    folder = tempfile.TemporaryDirectory()
    file = Path(folder.name) / "input.cert"

    def mutate(data: bytes, limit: int, seed: int) -> bytes:
        choice = random.Random(seed)
        members = unpack(data) if choice.random() < 0.75 else {}
        if members:
            name = choice.choice(sorted(members))
            members[name] = atheris.Mutate(members[name], min(len(members[name]) + 64, MEMBER_LIMIT))
            packed = pack(members)
            if len(packed) <= limit:
                return packed
        return bytes(atheris.Mutate(data, limit))

    def examine(data: bytes) -> None:
        file.write_bytes(data)
        with contextlib.suppress(InputError):
            examine_file(file, CHECK_SECONDS)

    atheris.Setup([*sys.argv, "-max_len=65536", "-len_control=0"], examine, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
