"""How tight the relaxation is: rank, complete positivity, copositivity, and the test that counts, bound = objective."""
