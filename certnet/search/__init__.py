"""Branch and bound: the price of a training program and the margin of a property, over signs and over cones."""
