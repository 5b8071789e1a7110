"""Exit codes, the same for every command."""

from certnet.cli.output import BY_VERDICT, EPILOG, Exit

__all__ = ["BY_VERDICT", "EPILOG", "Exit"]
