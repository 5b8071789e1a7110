"""How tight the relaxation is: rank, complete positivity, and the test that counts, bound = objective."""
