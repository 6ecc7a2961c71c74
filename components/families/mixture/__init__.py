"""Gaussian mixtures fitted by expectation maximisation to their own samples (the paper's figure 7), many chains at once."""
