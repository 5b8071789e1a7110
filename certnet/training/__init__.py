"""The primal side: from candidate hidden weights to a good network. Nothing here proves a bound."""

from certnet.training.directions import largest_prices
from certnet.training.group_lasso import GroupLassoResult, group_lasso
from certnet.training.polish import balance, merge, network_dual, polish, prune, reduce_width, refit
from certnet.training.pricing import Pricing, candidates_from_moment, price, price_planar
from certnet.training.trainer import FitResult, Round, fit

__all__ = [
    "FitResult",
    "GroupLassoResult",
    "Pricing",
    "Round",
    "balance",
    "candidates_from_moment",
    "fit",
    "group_lasso",
    "largest_prices",
    "merge",
    "network_dual",
    "polish",
    "price",
    "price_planar",
    "prune",
    "reduce_width",
    "refit",
]
