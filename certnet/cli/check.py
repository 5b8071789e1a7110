"""``certnet check``."""

import sys
from dataclasses import replace
from pathlib import Path

from certificates.certificate import OptimalityCertificate, fingerprint
from certificates.checker import check
from certificates.container import read_certificate
from certnet.cli.exits import BY_VERDICT
from certnet.cli.report import check_report
from certnet.cli.show import down, percent, up
from certnet.data import Recipe, load, source_kind
from certnet.output import strict_json
from formulations import InputError, TrainingProgram


def run_check(path: Path, *, data: str | None, json: bool) -> int:
    """Check a certificate, print what was found, and return the exit code.

    Raises:
        InputError: no readable certificate, or one about other data than ``data``.
    """
    certificate = read_certificate(path)
    if data is not None:
        compare(certificate, data)
    report = check(certificate)
    found = check_report(report, certificate, path=path, compared_with=data)
    if json:
        sys.stdout.write(strict_json(found) + "\n")
    else:
        origin = "the copy inside the certificate" if data is None else f"{data}, equal to the copy in the certificate"
        lines = {
            "verdict": found["verdict"],
            "reason": found["reason"],
            "lower bound": down(found["lower_bound"]),
            "objective": up(found["objective"]),
            "gap": percent(found["gap"]),
            "data": origin,
        }
        sys.stdout.writelines(f"{name:<12} {value}\n" for name, value in lines.items())
    return BY_VERDICT[report.verdict]


def compare(certificate: OptimalityCertificate, data: str) -> None:
    """Rebuild X and Y from a source as the certificate's recipe says, and insist on equality.

    A certificate without a recipe is compared with all rows of the source, raw.

    Raises:
        InputError: the data differ, or cannot be read.
    """
    recipe = Recipe(source=data, raw=True, split=False, bias=certificate.bias)
    if "data" in certificate.provenance:
        stored = Recipe.from_json(certificate.provenance["data"])
        target = stored.target if source_kind(data) == "csv" else None
        recipe = replace(stored, source=data, target=target, bias=certificate.bias)
    split = load(recipe)
    program = TrainingProgram(split.X_train, split.Y_train, certificate.gamma, bias=certificate.bias)
    given, certified = fingerprint(program.X, program.Y), fingerprint(certificate.X, certificate.Y)
    if given != certified:
        raise InputError(
            f"The certificate is about other data: its fingerprint is {certified[:12]}…, that of {data} is "
            f"{given[:12]}…; pass the data it was made from."
        )
