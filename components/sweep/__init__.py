"""Sweeps: what is searched, what is asked of it, which trials are hopeless, and what the curve of them says."""
