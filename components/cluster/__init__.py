"""Everything Ray: a cluster (embedded or given), and groups of workers that serve a chain from first to last."""

from components.cluster.groups import Failed, Work, run_groups
from components.cluster.session import Capacity, check, connect, local_workers

__all__ = ["Capacity", "Failed", "Work", "check", "connect", "local_workers", "run_groups"]
