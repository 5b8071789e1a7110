"""Commands that ask questions of one network: time for each, a line and a proof of each, and what they say together."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from certificates import Certificate, Verdict
from certificates.layout import MAX_CASES
from certnet.cli.limits import seconds_or_none, shares
from certnet.cli.output import BY_VERDICT, SEVERITY, head, place_for, with_headline, write_proof
from certnet.cli.query import tell_notes
from certnet.cli.show import Live, first_line, stderr_console
from certnet.io.output import print_result
from certnet.runtime.wording import printable
from formulations.network import ReluNetwork

Seconds = Annotated[float, typer.Option("--time-limit", help="Seconds for the whole command; 0 for no limit.")]
Proofs = Annotated[
    str | None,
    typer.Option("--certificate", metavar="FILE", help="Where the proof is written; of several questions a folder."),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the attacks.")]
Entries = Sequence[Mapping[str, Any]]
Answer = tuple[list[tuple[str, dict[str, Any]]], Certificate | None]
"""Lines with what JSON says of each, and the proof of all."""
Question = Callable[..., Answer]
"""Takes time_limit, random_state, provenance and progress."""


@dataclass(frozen=True)
class Call:
    """One call of a command, with what all answers have in common."""

    command: str
    report: Mapping[str, Any]
    started: float
    time_limit: float
    certificate: str | None
    json: bool
    seed: int

    def answer(self, network: ReluNetwork, questions: Mapping[str, Question], summary: Callable[[Entries], str]) -> int:
        """Ask each question, write its proof, and say what was found; a single question may have no name."""
        alone, limit = len(questions) == 1, seconds_or_none(self.time_limit)
        place = None if self.certificate is None else place_for(self.certificate, "--certificate", folder=not alone)
        notes, file = tell_notes(network), dict[str, Any]()
        entries: list[dict[str, Any]] = []
        with Live(enabled=True, time_limit=limit) as live:
            seconds = shares(limit, self.started, len(questions))
            for (label, ask), share in zip(questions.items(), seconds, strict=True):
                rows, proof = ask(
                    time_limit=share,
                    random_state=self.seed,
                    provenance={"command": self.command, **self.report, "question": label},
                    progress=live.part(label or self.command, self.started),
                )
                file = {}
                if place is not None and proof is not None:
                    if len(proof.cases) > MAX_CASES:
                        notes.append(f"{label} has a proof of {len(proof.cases)} cases, and a file holds {MAX_CASES}.")
                        stderr_console().print(f"certnet: {notes[-1]}", markup=False, soft_wrap=True)
                    else:
                        path = place if alone else place / f"{label.replace(' ', '-')}.cert"
                        write_proof(path, proof)
                        file = {"certificate": str(path)}
                for line, entry in rows:
                    entries.append({**entry, **file})
                    if not self.json:
                        print_result({}, [printable(line)], as_json=False)
        verdict = min((Verdict(entry["verdict"]) for entry in entries), key=SEVERITY.index)
        report = {
            **head(self.command, None, summary(entries)),
            "verdict": str(verdict),
            **self.report,
            "results": entries,
            "files": file if alone else {},
            "seconds": time.perf_counter() - self.started,
            "notes": notes,
        }
        report = with_headline(report)
        print_result(report, [first_line(report)], as_json=self.json)
        return BY_VERDICT[verdict]
