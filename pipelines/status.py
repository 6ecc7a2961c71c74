"""`mlflow run . -e status`: how far the studies on a store are, wherever they run; out of the store alone.

A study says of itself every few seconds where it is (`components/store/heartbeat`). Nothing is computed here, nothing is
held, nothing is written.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import pandas as pd
from rich.console import Group, RenderableType
from rich.live import Live

from components import config
from components.config.errors import BadInput
from components.config.status import StatusSettings
from components.store import Store, Told, is_running, read_heartbeats
from components.store.owner import host_of
from components.terminal import FINISHED, Row, Snapshot, console, print_table, say, table, time_left
from pipelines.study import run_command

SECONDS_BETWEEN_LOOKS = 2
SECONDS_BETWEEN_LINES = 20
OTHERS = 10
"""Studies that do not run, of which it is said how they ended."""


@dataclass(frozen=True)
class Study:
    """A study on the store, as it was when it was looked at. `finished`: by chain, generations that the store has."""

    told: Told
    runs: bool
    snapshot: Snapshot
    finished: dict[str, int]

    @property
    def line(self) -> str:
        """Its name, whether it runs or how it ended, where, since when, and how long still."""
        told, host = self.told, host_of(self.told.owner)
        if self.runs:
            return f"{told.study} runs on {host} since {_clock(told.started)}; {self._left}"
        began = f"begun on {host}, {_clock(told.started)}"
        match told.state:
            case "finished":
                return f"{told.study} is finished ({began})"
            case "failed":
                return f"{told.study} failed: {told.error} ({began})"
            case "stopped":
                return f"{told.study} was stopped ({began}): the same command continues it"
            case "running":
                return f"{told.study} was killed ({began}): the same command continues it"

    @property
    def chains(self) -> pd.DataFrame:
        """A row a chain or trial: generations in the store, what is done now, how long still."""
        rows = [(row.name, self._generations(row), self._now(row), self._time_left(row)) for row in self.snapshot.rows]
        return pd.DataFrame(rows, columns=["chain", "finished", "now", "time left"])

    @property
    def _left(self) -> str:
        if self.snapshot.done:
            return "figures and report are being made"
        seconds = self.snapshot.seconds_left
        return "time left not known yet" if seconds is None else time_left(seconds)

    def _generations(self, row: Row) -> str:
        return "" if row.last < 0 else f"{self.finished.get(row.chain, row.generation + 1)} of {row.last + 1}"

    def _now(self, row: Row) -> str:
        ended = row.now == FINISHED or row.now.startswith("failed")
        return row.now if self.runs or ended else f"not at its end: {row.now}"

    def _time_left(self, row: Row) -> str:
        return time_left(row.seconds_left) if row.seconds_left else ""


def status(arguments: Sequence[str]) -> None:
    """Print how far the studies are that the arguments ask for.

    Raises:
        BadInput: no store is there, or no study of that name on it.
    """
    settings = config.load_plain(StatusSettings, arguments)
    store = Store.look_at(settings.store.path)
    if not settings.follow or not console.is_terminal:
        _print(store, settings)
        return
    with Live(console=console, auto_refresh=False) as live:
        while True:
            shown, others = _look(store, settings)
            live.update(_drawn(shown, others), refresh=True)
            if not any(study.runs for study in shown):
                return
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _print(store: Store, settings: StatusSettings) -> None:
    """Line by line; where it is to follow, again now and then."""
    while True:
        shown, others = _look(store, settings)
        for study in shown:
            print_table(study.line, study.chains)
        for line in others:
            say(line)
        if not settings.follow or not any(study.runs for study in shown):
            return
        time.sleep(SECONDS_BETWEEN_LINES)


def _drawn(shown: Sequence[Study], others: Sequence[str]) -> RenderableType:
    return Group(*(table(study.line, study.chains) for study in shown), *others)


def _look(store: Store, settings: StatusSettings) -> tuple[list[Study], list[str]]:
    """The studies that are asked for, and a line on each of the others: asked for are all that run, or else the newest."""
    known = read_heartbeats(store)
    if settings.name is not None:
        chosen = [told for told in known if told.study.startswith(settings.name)]
        if not chosen:
            names = ", ".join(told.study for told in known) or "none yet"
            raise BadInput("name", settings.name, f"no such study on this store; there are {names}")
        return [_study(store, told) for told in chosen], []
    if not known:
        return [], ["No study has run on this store yet."]
    studies = [_study(store, told) for told in known]
    shown = [study for study in studies if study.runs] or studies[-1:]
    others = [study.line for study in reversed(studies) if study not in shown]
    more = [f"and {len(others) - OTHERS} older ones"] if len(others) > OTHERS else []
    return shown, others[:OTHERS] + more


def _study(store: Store, told: Told) -> Study:
    snapshot = Snapshot.from_json(told.progress) if told.progress else Snapshot([], None, False)
    finished = {row.chain: _finished(store, row) for row in snapshot.rows}
    return Study(told, is_running(store, told), snapshot, {chain: n for chain, n in finished.items() if n is not None})


def _finished(store: Store, row: Row) -> int | None:
    """Generations that the store has of a chain; nothing of a trial, which is several chains."""
    names = store.json_names(f"chains/{row.chain}")
    if pointer := next((name for name in names if name.endswith("trajectory.json")), None):
        return min(int(store.read_json(pointer)["generations"]), row.last + 1)
    return min(len(names), row.last + 1) if names else None


def _clock(moment: str) -> str:
    """The time of day, here; with the date where it is not today's."""
    then, now = datetime.fromisoformat(moment).astimezone(), datetime.now().astimezone()
    return f"{then:%H:%M}" if then.date() == now.date() else f"{then:%Y-%m-%d %H:%M}"


if __name__ == "__main__":
    run_command(status, sys.argv[1:])
