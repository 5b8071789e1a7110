"""The advocate: what makes proofs out of whatever duals are at hand. The checker imports nothing of it."""

from typing import TYPE_CHECKING

from formulations.lazy import lazily

if TYPE_CHECKING:
    from certificates.making.assemble import certify, residual_dual

__all__ = ["certify", "residual_dual"]

__getattr__ = lazily(__name__, {"certificates.making.assemble": "certify residual_dual"})
