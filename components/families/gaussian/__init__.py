"""Gaussians fitted to their own samples (the paper's section on one-dimensional Gaussians), many chains at once."""
