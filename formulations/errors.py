"""Errors that a user can act on. Every message is one sentence that says what is wrong and what to do."""


class CertnetError(Exception):
    """Base class of every error that certnet raises on purpose."""


class InputError(CertnetError, ValueError):
    """Data, options or files that cannot be used as they are (exit code 2 on the command line)."""
