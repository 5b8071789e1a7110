"""Branching on the signs of data points: bounds of nodes, the search, its state, and the certificate it leads to."""
