"""Commands that ask questions of one network: time for each, a line and a proof of each, and what they say together."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from certificates import Certificate, Verdict
from certnet.cli.limits import began, job_seconds, seconds_or_none, shares
from certnet.cli.options import JSON, SEED
from certnet.cli.output import BY_VERDICT, SEVERITY, Exit, head, place_for, with_headline, write_proof
from certnet.cli.parsing import option
from certnet.cli.query import tell_notes
from certnet.cli.rows import median_radius
from certnet.cli.show import Live, first_line
from certnet.io.output import print_result
from certnet.runtime.clock import Event
from certnet.runtime.wording import printable
from formulations.network import ReluNetwork

Entries = Sequence[Mapping[str, Any]]
Answer = tuple[Sequence[tuple[str, Mapping[str, Any]]], Certificate | None]
"""Lines with what JSON says of each, and the proof of all."""
Question = Callable[..., Answer]  # Takes time_limit, random_state, provenance and progress.


@dataclass(frozen=True)
class Asking:
    """Options of these commands, and how they are answered."""

    time_limit: float = option("Seconds for the whole command; 0 for no limit.", default=50.0)
    certificate: str | None = option("Where the proof is written; of several questions a folder.", metavar="FILE")
    seed: int = SEED
    json: bool = JSON
    started: float = field(init=False, default_factory=began)

    @property
    def seconds(self) -> float | None:
        """What is left for a job that is all of the command."""
        return job_seconds(seconds_or_none(self.time_limit), self.started)

    def answer(
        self,
        command: str,
        network: ReluNetwork,
        questions: Mapping[str, Question],
        summary: Callable[[Entries], str],
        /,
        *,
        input_limit: float | None = None,
        folder: bool = False,
        titles: Iterable[str] = (),
        more: Callable[[Entries], Mapping[str, Any]] = lambda _: {},
        **about: Any,
    ) -> int:
        """Ask each question by its name, write its proof, and say what was found; returns the exit code.

        ``summary`` is a sentence about all entries, ``more`` what JSON says besides of them, ``about`` what JSON and
        certificates say of the command. With ``folder`` the proof of a single question goes to a folder too.
        """
        alone, limit = len(questions) == 1 and not folder, seconds_or_none(self.time_limit)
        place = None if self.certificate is None else place_for(self.certificate, "--certificate", folder=not alone)
        notes, file = tell_notes(network), dict[str, Any]()
        entries: list[Mapping[str, Any]] = []
        self._print(titles)
        count = 0
        # Ctrl-C leaves the last questions without an answer.
        with contextlib.suppress(KeyboardInterrupt), Live(enabled=True, time_limit=limit) as live:
            seconds = shares(limit, self.started, len(questions), input_limit)
            for (label, ask), share in zip(questions.items(), seconds, strict=True):
                which = f" ({count + 1} of {len(questions)})" if len(questions) > 1 else ""
                watch = live.part(f"{label or command}{which}", self.started, _so_far(entries))
                watch(Event("begins", 0.0))
                provenance = {"command": command, **about, "question": label}
                rows, proof = ask(time_limit=share, random_state=self.seed, provenance=provenance, progress=watch)
                file = {}
                if place is not None and proof is not None:
                    path = place if alone else place / f"{label.replace(' ', '-')}.cert"
                    file = write_proof(path, proof, notes)
                entries += [{**entry, **file} for _, entry in rows]
                count += 1
                self._print(line for line, _ in rows)
        if not entries:
            raise KeyboardInterrupt
        interrupted, reason = count < len(questions), summary(entries)
        if interrupted:
            reason = f"interrupted after {count} of {len(questions)} questions: {reason}"
        verdicts = [str(Verdict.UNKNOWN)] * interrupted + [entry["verdict"] for entry in entries]
        verdict = min(verdicts, key=SEVERITY.index)
        report = {
            **head(command, None, reason),
            "verdict": verdict,
            "interrupted": interrupted,
            **about,
            **more(entries),
            "results": entries,
            "files": file if alone else {},
            "seconds": time.perf_counter() - self.started,
            "notes": notes,
        }
        report = with_headline(report)
        print_result(report, [first_line(report)], as_json=self.json)
        return Exit.INTERRUPTED if interrupted else BY_VERDICT[verdict]

    def _print(self, lines: Iterable[str]) -> None:
        for line in () if self.json else lines:
            print_result({}, [printable(line)], as_json=False)


def _so_far(entries: Entries) -> str | None:
    radii = [entry["certified_radius"] for entry in entries if "certified_radius" in entry]
    counts = Counter(str(entry.get("result", entry["verdict"])) for entry in entries if "certified_radius" not in entry)
    known = [f"{count} {word}" for word, count in counts.items()]
    return ", ".join([*known, *filter(None, [median_radius(radii)])]) or None
