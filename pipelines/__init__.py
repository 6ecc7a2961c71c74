"""The entry points: each reads its settings, plans, computes on the cluster, records in MLflow and tells what it found."""

import gc

# The libraries make half a million objects while they are imported, and all of them stay: the collector's default of one
# look every 700 objects takes a second of a study's start, and finds nothing.
gc.set_threshold(100_000, 20, 20)
