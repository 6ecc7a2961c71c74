"""What a person sees while a study or a sweep runs: the plan, how far it is and how long still, the closing table."""

from components.terminal.printing import console, duration, print_table, say, table, time_left
from components.terminal.snapshot import FINISHED, Row, Snapshot
from components.terminal.study import StudyProgress, chain_fields, chain_name
from components.terminal.sweep import SweepProgress

__all__ = [
    "FINISHED",
    "Row",
    "Snapshot",
    "StudyProgress",
    "SweepProgress",
    "chain_fields",
    "chain_name",
    "console",
    "duration",
    "print_table",
    "say",
    "table",
    "time_left",
]
