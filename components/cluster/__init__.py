"""Everything Ray: a cluster (embedded or given), and groups of workers that serve a chain from first to last."""

import os

# Ray reads it when it is imported; an open Ray port is remote code execution (CVE-2023-48022).
os.environ.setdefault("RAY_AUTH_MODE", "token")

from components.cluster.groups import Failed, Work, run_groups
from components.cluster.session import Capacity, check, connect, local_workers

__all__ = ["Capacity", "Failed", "Work", "check", "connect", "local_workers", "run_groups"]
