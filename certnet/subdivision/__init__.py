"""Exact pricing in few dimensions: the weight space is cut into simplicial cones until the bound of each is enough."""
