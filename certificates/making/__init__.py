"""The advocate: what makes proofs out of whatever duals are at hand. The checker imports nothing of it."""
