"""Three arithmetics behind one interface: rational, ball, and floating point with proved error bounds."""

from certificates.arithmetic.ball import BallMatrix
from certificates.arithmetic.exact import RationalMatrix
from certificates.arithmetic.floating import Enclosure
from certificates.arithmetic.matrix import Arithmetic, Matrix

MATRICES: dict[Arithmetic, type[Matrix]] = {each.arithmetic: each for each in (RationalMatrix, BallMatrix, Enclosure)}
"""The class of matrices of each arithmetic; AUTO has none."""

__all__ = ["MATRICES", "Arithmetic", "BallMatrix", "Enclosure", "Matrix", "RationalMatrix"]
