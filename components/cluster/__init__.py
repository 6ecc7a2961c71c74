"""Everything Ray: a cluster (embedded or given), groups of workers that serve chains and trials, tasks, and Ray Tune."""

from components.cluster.groups import Crew, Failed, Work, run_groups
from components.cluster.session import Capacity, check, connect, local_workers
from components.cluster.tasks import run_tasks
from components.cluster.trials import Search, run_trials_in_groups, run_trials_in_tasks

__all__ = [
    "Capacity",
    "Crew",
    "Failed",
    "Search",
    "Work",
    "check",
    "connect",
    "local_workers",
    "run_groups",
    "run_tasks",
    "run_trials_in_groups",
    "run_trials_in_tasks",
]
