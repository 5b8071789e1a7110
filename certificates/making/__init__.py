"""The advocate: what makes proofs out of whatever duals are at hand. The checker imports nothing of it."""

from certificates.making.assemble import best_repair, certify, residual_dual
from certificates.making.repair import RepairedDual, repair

__all__ = ["RepairedDual", "best_repair", "certify", "repair", "residual_dual"]
