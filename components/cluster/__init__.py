"""Everything Ray: a cluster (embedded or given), groups of workers that serve a chain from first to last, and tasks."""

from components.cluster.groups import Failed, Work, run_groups
from components.cluster.session import Capacity, check, connect, local_workers
from components.cluster.tasks import run_tasks

__all__ = ["Capacity", "Failed", "Work", "check", "connect", "local_workers", "run_groups", "run_tasks"]
