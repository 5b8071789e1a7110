"""The primal side: from candidate hidden weights to a good network. Nothing here proves a bound."""

from certnet.training.trainer import FitResult, fit

__all__ = ["FitResult", "fit"]
