"""Networks, posteriors and likelihoods."""
