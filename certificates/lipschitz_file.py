"""Lipschitz certificates as files: the container of docs/certificate-format.md with the kind "lipschitz"."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from certificates.container import (
    FORMAT,
    PROOF,
    VERSION,
    lifted_proof,
    open_archive,
    proof_arrays,
    read_arrays,
    read_manifest,
    subtable,
    write_archive,
)
from certificates.lipschitz import LipschitzCertificate
from certificates.robustness_file import NETWORK
from formulations.errors import InputError
from formulations.robustness import ReluNetwork

KIND = "lipschitz"
TABLE: dict[str, tuple[str, int]] = {**NETWORK, "c": ("<f8", 1), "constant": ("<f8", 1), **PROOF}


def write_lipschitz(path: Path | str, certificate: LipschitzCertificate) -> None:
    """Write a certificate atomically. Equal certificates give equal bytes.

    Raises:
        OSError: the folder is missing or read-only, or the disk is full.
    """
    values: dict[str, NDArray[Any]] = {name: getattr(certificate.network, name.split("/")[1]) for name in NETWORK}
    values |= {"c": certificate.c, "constant": np.array([certificate.constant]), **proof_arrays(certificate.proof)}
    manifest = {"format": FORMAT, "version": VERSION, "kind": KIND, "provenance": dict(certificate.provenance)}
    write_archive(path, manifest, values, {name: dtype for name, (dtype, _) in TABLE.items()})


def read_lipschitz(path: Path | str) -> LipschitzCertificate:
    """Read a certificate file; nothing in it is believed, but its shape is checked.

    Raises:
        InputError: the file is missing, damaged, or no Lipschitz certificate of this version.
    """
    return open_archive(path, _read)


def _read(archive: zipfile.ZipFile, size: int) -> LipschitzCertificate:
    manifest = read_manifest(archive, KIND)
    provenance = subtable(manifest, "provenance")
    arrays = read_arrays(archive, size, manifest, TABLE)
    if len(arrays["constant"]) != 1:
        raise InputError("constant does not hold one number.")
    network = ReluNetwork(**{name.split("/")[1]: arrays[name] for name in NETWORK})
    proof = lifted_proof(arrays, "proof/")
    return LipschitzCertificate(network, arrays["c"], float(arrays["constant"][0]), proof, provenance)
