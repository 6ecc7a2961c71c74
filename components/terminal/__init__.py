"""What a person sees while a study or a sweep runs: the plan, how far it is and how long still, the closing table."""

from components.terminal.printing import console, duration, print_table
from components.terminal.study import StudyProgress, chain_name
from components.terminal.sweep import SweepProgress

__all__ = ["StudyProgress", "SweepProgress", "chain_name", "console", "duration", "print_table"]
