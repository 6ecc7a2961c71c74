"""Everything Ray: a cluster (embedded or given), and groups of workers that serve a chain from first to last."""

from components.cluster.groups import Failed, Watch, run_groups
from components.cluster.session import Capacity, connect

__all__ = ["Capacity", "Failed", "Watch", "connect", "run_groups"]
