"""Speed, measured against the peers in the same run; each prints a table and leaves a JSON in `benchmarks/results`."""
