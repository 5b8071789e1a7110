"""How tight the relaxation is: rank, complete positivity, copositivity, and the test that counts, bound = objective."""

from certnet.tightness.complete_positivity import (
    CompletePositivity,
    check_completely_positive,
    is_completely_positive_graph,
)
from certnet.tightness.copositivity import Copositivity, check_copositive
from certnet.tightness.rank import Points, Spectrum, extract_points, spectrum

__all__ = [
    "CompletePositivity",
    "Copositivity",
    "Points",
    "Spectrum",
    "check_completely_positive",
    "check_copositive",
    "extract_points",
    "is_completely_positive_graph",
    "spectrum",
]
