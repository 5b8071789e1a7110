"""One self-contained page about runs, in HTML (``pip install 'certnet[report]'``): no outside request, no script."""

from certnet.report.building import page

__all__ = ["page"]
