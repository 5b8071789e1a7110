"""The one way in which a proof fails."""

import numpy as np


class ProofFailure(Exception):  # noqa: N818 - a step of the proof that does not hold, not an error of the program
    """The first violated condition, as a sentence. It says nothing about the claim, only about its proof."""


def require(condition: bool | np.bool_, sentence: str) -> None:
    """Raise ``ProofFailure`` unless the condition is true."""
    if not condition:
        raise ProofFailure(sentence)
