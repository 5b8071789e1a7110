"""Signs of a generator on a part of the cone: β = 0 where it is active, α = 0 where it is inactive."""

FREE, ACTIVE, INACTIVE = 0, 1, -1
