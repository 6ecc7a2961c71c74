"""Everything Ray: a cluster (embedded or given), groups of workers that serve chains and trials, and tasks.

`trials`, which is Ray Tune's part, is imported by sweeps alone: it takes a second.
"""

import os

# Read by Ray when it is imported: what a thread calls after Ray's end must not start another Ray.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
# Read by Ray Tune when it is imported, hence before the imports below. Its own tables, logs by trial, answer to Ctrl-C and
# remarks on a slow loop: ours are the store, MLflow and the terminal, and the loop waits for MLflow on purpose.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1000000")
os.environ.setdefault("TUNE_WARN_THRESHOLD_S", "60")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

from components.cluster.capacity import Capacity, Machine, this_machine
from components.cluster.groups import Crew, Failed, Work, run_groups
from components.cluster.session import Lost, check, connect
from components.cluster.starting import libraries_loaded, seconds_to_start
from components.cluster.tasks import run_tasks

__all__ = [
    "Capacity",
    "Crew",
    "Failed",
    "Lost",
    "Machine",
    "Work",
    "check",
    "connect",
    "libraries_loaded",
    "run_groups",
    "run_tasks",
    "seconds_to_start",
    "this_machine",
]
