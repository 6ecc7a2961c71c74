"""Where every trial of a sweep is, and how long still: a table that moves at a terminal, lines elsewhere."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.live import Live
from rich.table import Table

from components.terminal.printing import console, say, time_left
from components.terminal.snapshot import Row as TrialRow
from components.terminal.snapshot import Snapshot

SECONDS_BETWEEN_LINES = 20
ROWS = 24  # what fits most terminals: the newest trials


@dataclass
class Row:
    """A trial: its settings in words, how far it is, how bad it is there, and how many generations the store had.

    `since`: when its last generation ended, or it began.
    """

    settings: str
    found: int
    since: float
    generation: int = -1
    now: str = "starts"
    error: float | None = None
    collapse: float | None = None
    state: str = "running"


@dataclass
class SweepProgress:
    """Progress of trials. `trials`: in all; `generations`: the last one; `measure`: what the error is called."""

    trials: int
    generations: int
    measure: str
    rows: dict[str, Row] = field(default_factory=dict)
    _seconds: float = 0.0
    _computed: int = 0
    _side_by_side: int = 1
    _printed: float = 0.0

    def __post_init__(self) -> None:
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=2, transient=True)

    def __enter__(self) -> "SweepProgress":
        if console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if console.is_terminal:
            self._live.stop()

    def begin(self, trial: str, settings: str, found: int) -> None:
        """A trial begins; the store has its first `found` generations."""
        self.rows[trial] = Row(settings, found, time.monotonic())
        self._side_by_side = max(self._side_by_side, len(self._running()))
        if found:
            self.say(f"{trial} ({settings}): generations 0-{found - 1} are in the store")

    def at(self, work: str, generation: int, phase: str, done: int, total: int) -> None:
        """A phase of a trial, or of the base model, is at `done` of `total`."""
        what = f"generation {generation} · {phase}" if generation >= 0 else phase
        now = f"{what} {100 * done // max(total, 1)} %"
        if work in self.rows:
            self.rows[work].now = now
        if (work not in self.rows or not console.is_terminal) and self._may_print():
            self.say(f"{work}: {now}; {self.time_left()}" if work in self.rows else f"{work}: {now}")

    def finished(self, trial: str, generation: int) -> None:
        """A trial's chains are at the end of a generation; what it reports may come later."""
        self.rows[trial].now = f"generation {generation} done"

    def reached(self, trial: str, numbers: Mapping[str, Any], error: float) -> None:
        """A trial reported after a generation."""
        row, generation, now = self.rows[trial], int(numbers["generation"]), time.monotonic()
        if computed := max(generation - max(row.generation, row.found - 1), 0):
            self._seconds, self._computed = self._seconds + now - row.since, self._computed + computed
        row.since, row.generation, row.error, row.collapse = now, generation, error, numbers["collapse"]
        if not console.is_terminal:
            self._printed = time.monotonic()
            told = f"{self.measure} {error:.4g}, collapse {row.collapse:.3f}"
            self.say(f"{trial} ({row.settings}): generation {row.generation}, {told}; {self.time_left()}")

    def ended(self, trial: str, state: str, error: str | None) -> None:
        """A trial is completed, pruned, failed, or was interrupted."""
        row = self.rows[trial]
        row.state, row.now = state, ""
        if state != "completed":
            reached = f" at generation {row.generation}" if row.generation >= 0 else ""
            self.say(f"{trial} ({row.settings}): {state}{reached}" + (f": {error}" if error else ""))

    def say(self, line: str) -> None:
        say(line)

    def time_left(self) -> str:
        """How long still, in words."""
        left = self._seconds_left()
        if left is None:
            return "time left not known yet"
        return time_left(left) if left else "nearly done"

    def snapshot(self) -> Snapshot:
        """Where every trial is, as plain data."""
        rows = [
            TrialRow(
                name=f"{name} ({row.settings})",
                chain=name,
                generation=row.generation,
                last=self.generations,
                now=row.now if row.state == "running" else row.state,
                seconds_left=self._seconds_left_of(row),
            )
            for name, row in self.rows.items()
        ]
        ended = sum(row.state != "running" for row in self.rows.values())
        return Snapshot(rows, self._seconds_left(), ended == self.trials)

    def _seconds_left(self) -> float | None:
        """By the seconds that a generation has taken, and by how many of them a trial has come to before it was stopped."""
        if not self._computed:
            return None
        seconds, each = self._seconds / self._computed, self.generations + 1
        ended = [row.generation + 1 for row in self.rows.values() if row.state in ("completed", "pruned")]
        typical = sum(ended) / len(ended) if ended else each
        running = [self._seconds_left_of(row) or 0.0 for row in self._running()]
        begun_later = typical * max(self.trials - len(self.rows), 0) * seconds
        return max([(sum(running) + begun_later) / self._side_by_side, *running])

    def _seconds_left_of(self, row: Row) -> float | None:
        """Of a trial that comes to its end."""
        if row.state != "running":
            return 0.0
        if not self._computed:
            return None
        left = self.generations + 1 - max(row.generation + 1, row.found)
        return max(left * self._seconds / self._computed - (time.monotonic() - row.since), 0.0)

    def _running(self) -> list[Row]:
        return [row for row in self.rows.values() if row.state == "running"]

    def _may_print(self) -> bool:
        if time.monotonic() - self._printed < SECONDS_BETWEEN_LINES:
            return False
        self._printed = time.monotonic()
        return True

    def _table(self) -> Table:
        ended = sum(row.state != "running" for row in self.rows.values())
        table = Table(title=f"{ended} of {self.trials} trials ended; {self.time_left()}", title_justify="left")
        for place, column in enumerate(("trial", "settings", "generation", self.measure, "collapse", "")):
            table.add_column(column, justify="right" if place in (2, 3, 4) else "left", no_wrap=True)
        for name, row in list(self.rows.items())[-ROWS:]:
            error = "–" if row.error is None else f"{row.error:.4g}"
            collapse = "–" if row.collapse is None else f"{row.collapse:.3f}"
            reached = f"{max(row.generation, 0)} of {self.generations}"
            table.add_row(
                name, row.settings, reached, error, collapse, row.now if row.state == "running" else row.state
            )
        return table
