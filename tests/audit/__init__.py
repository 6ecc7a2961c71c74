"""Whether a package that requirements.lock pins has a known vulnerability (`make audit`)."""
