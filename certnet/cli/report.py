"""``certnet report``: runs as a page to show."""

import time
from typing import Annotated

from certnet.cli.options import Json, Runs
from certnet.cli.parsing import option
from formulations import InputError


def report(
    runs: Runs,
    html: Annotated[
        str | None, option(metavar="FILE", help="The page, complete in itself: no request, no script.")
    ] = None,
    time_limit: Annotated[float, option(help="Seconds for proving each certificate again; 0 for no limit.")] = 60.0,
    json: Json = False,
) -> int:
    """Make one page of runs of train, optimality and audit; their certificates are proved again for it."""
    from rich.filesize import decimal

    from certnet.cli.limits import seconds_or_none
    from certnet.cli.output import Exit, head, place_for
    from certnet.cli.show import Live
    from certnet.io.output import print_result, write_file
    from certnet.io.runs import read_runs
    from certnet.report import page
    from certnet.runtime.clock import Event

    started, limit = time.perf_counter(), seconds_or_none(time_limit)
    if html is None:
        raise InputError("Name the file of the page: certnet report RUN --html FILE.html.")
    place = place_for(html, "--html", folder=False)
    found = [one for run in runs for one in read_runs(run)]
    with Live(enabled=True) as live:
        live(Event(f"proving {len(found)} certificates again", time.perf_counter() - started))
        text = page(found, time_limit=limit)
    write_file(place, text.encode())
    said = {**head("report", None, f"a page about {len(found)} runs was written"), "files": {"html": html}}
    said |= {"runs": [str(run.path) for run in found], "seconds": time.perf_counter() - started}
    print_result(said, [f"{place} ({decimal(len(text.encode()))})"], as_json=json)
    return Exit.OK
