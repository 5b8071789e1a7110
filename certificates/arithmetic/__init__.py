"""Three arithmetics behind one interface: rational, ball, and floating point with proved error bounds."""

from certificates.arithmetic.ball import BallMatrix
from certificates.arithmetic.floating import Enclosure
from certificates.arithmetic.matrix import Arithmetic, Matrix, PsdProof
from certificates.arithmetic.rational import RationalMatrix

__all__ = ["Arithmetic", "BallMatrix", "Enclosure", "Matrix", "PsdProof", "RationalMatrix"]
