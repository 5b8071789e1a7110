"""The command line. Importing it imports neither solvers nor scikit-learn."""

from certnet.cli.app import main

__all__ = ["main"]
