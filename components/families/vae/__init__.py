"""Variational autoencoders trained on the previous decoder's images (the paper's section on VAEs, figure 9)."""
