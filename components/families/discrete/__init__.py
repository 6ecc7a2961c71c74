"""Discrete distributions fitted exactly (the paper's section on them): what is lost is lost to finite samples alone."""
