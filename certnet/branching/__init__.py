"""Branching on signs of neurons: the polyhedral cones of the nodes, and which further signs they imply."""

from certnet.branching.arrangement import Arrangement
from certnet.branching.cone import Cone

__all__ = ["Arrangement", "Cone"]
