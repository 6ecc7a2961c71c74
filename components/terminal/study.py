"""Where every chain of a study is, and how long still.

At a terminal the lines move; elsewhere (a log, CI) a line is printed for every finished generation, and now and then
between them. `snapshot` says the same to who looks from elsewhere (`mlflow run . -e status`).
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from components.recursion.records import PHASES, Chain, Generation
from components.terminal.printing import console, say, time_left
from components.terminal.snapshot import FINISHED, WAITS, Row, Snapshot

SECONDS_BETWEEN_LINES = 20
LEAST_SHARE = 0.01
"""Of a piece of work that must be behind us before it is said how long the rest takes."""
PLAN_SHARE, PLAN_SECONDS = 0.1, 30.0
"""A plan's seconds weigh as much as so much measured work: a share of all of it, and at least so many seconds. The first
phases say little of the rest, since kernels and libraries are loaded in them."""


@dataclass
class Pace:
    """How long work took: seconds expected of what was `worked` since `began`. What the store had is not counted."""

    began: float | None = None
    worked: float = 0.0

    def begin(self) -> None:
        """The workers' start is behind us."""
        self.began = self.began or time.monotonic()

    def seconds(self, expected: float, of: float, planned: bool = False) -> float | None:
        """Estimate the seconds that the rest takes, or None if it is too early to say.

        Args:
            expected: what the rest was expected to take, out of `of` in all, in whatever unit.
            planned: the unit is seconds of this machine, which a plan measured; they count until more is known.
        """
        if self.began is None or (self.worked < LEAST_SHARE * of and not planned):
            return None
        plan = max(PLAN_SHARE * of, PLAN_SECONDS) if planned else 0.0
        return expected * (plan + time.monotonic() - self.began) / (plan + self.worked)


@dataclass
class StudyProgress:
    """Progress of a study's chains, weighed by the seconds that the plan expects of every phase.

    `expected` maps a piece of work to the seconds of its phases by (generation, phase). The time left, of a chain and of
    the study, is that of the seconds expected, stretched by how the work so far compared. `fields`: what else a log says of
    whose a line is. `planned`: `expected` is in seconds that a plan measured on this machine, and not in a unit of its own.
    """

    names: Mapping[str, str]
    expected: Mapping[str, Mapping[tuple[int, str], float]]
    fields: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    planned: bool = False
    done: dict[str, float] = field(default_factory=dict)
    _pace: Pace = field(default_factory=Pace)
    _printed: float = 0.0
    _bars: dict[str, TaskID] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._paces = {work: Pace() for work in self.expected}
        self._totals = {work: sum(phases.values()) for work, phases in self.expected.items()}
        self._lasts = {work: max((index for index, _ in phases), default=-1) for work, phases in self.expected.items()}
        self._all_work = sum(self._totals.values())
        self._reached = dict.fromkeys(self.expected, -1)
        self._at: set[str] = set()  # pieces of work that have told of a phase
        self._now = dict.fromkeys(self.expected, WAITS)
        columns = (TextColumn("{task.description:<28}"), BarColumn(24), TextColumn("{task.percentage:>3.0f} %"))
        self._progress = Progress(
            *columns,
            TimeElapsedColumn(),
            TextColumn("{task.fields[now]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._all = self._progress.add_task("study", total=self._all_work, now="starting workers")

    def __enter__(self) -> "StudyProgress":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def at(self, work: str, generation: int, phase: str, done: int, total: int) -> None:
        """A phase of a piece of work is at `done` of `total`."""
        phases = self.expected[work]
        before = sum(seconds for key, seconds in phases.items() if _order(key) < _order((generation, phase)))
        now = before + phases.get((generation, phase), 0.0) * done / max(total, 1)
        # What lies before the first phase of which a piece of work tells was found in the store; later ones were computed.
        self._advance(work, now, worked=done > 0 or work in self._at)
        self._at.add(work)
        self._reached[work] = generation
        what = f"generation {generation} · {phase}" if generation >= 0 else phase
        told = FINISHED if generation < 0 and done == total else f"{what} {100 * done // max(total, 1)} %"
        self._show(work, told, {"generation": generation, "phase": phase})

    def finished(self, generation: Generation, found: bool = False) -> None:
        """A generation is finished, or was found in the store."""
        work, phases = generation.chain.identity, self.expected[generation.chain.identity]
        end = _order((generation.index, PHASES[-1]))
        now = sum(seconds for key, seconds in phases.items() if _order(key) <= end)
        slow = bool(generation.directories)  # of a family in memory hundreds are finished a second
        if found:
            self.done[work] = now
        else:  # another chain computed it where this one has told of no phase yet
            self._advance(work, now, worked=not slow or work in self._at)
        self._reached[work] = generation.index
        at = {"generation": generation.index}
        if not console.is_terminal and (slow or time.monotonic() - self._printed > SECONDS_BETWEEN_LINES):
            result = "is in the store" if found else _result(generation)
            self._line(work, f"generation {generation.index} {result}", at)
        last = generation.index == self._lasts[work]
        self._show(work, FINISHED if last else f"generation {generation.index} done", at)

    def failed(self, work: str, error: str) -> None:
        """A piece of work will not come to its end; the others go on."""
        self.done[work] = self._totals[work]  # nothing more of it will be done
        self._show(work, f"failed: {error}", {})
        say(f"{self.names[work]} failed: {error}", **self._fields(work))

    def say(self, line: str) -> None:
        say(line)

    def time_left(self) -> str:
        """How long still, in words; nothing is promised before something was computed."""
        if self._all_work - sum(self.done.values()) <= 0:
            return "nearly done"
        seconds = self._seconds_left()
        return "time left not known yet" if seconds is None else time_left(seconds)

    def snapshot(self) -> Snapshot:
        """Where everything is, as JSON."""
        rows = [
            Row(
                name=self.names[work],
                chain=work,
                generation=self._reached[work],
                last=self._lasts[work],
                now=self._now[work],
                seconds_left=self._seconds_left_of(work),
            )
            for work in self.names
            if self.expected.get(work)
        ]
        return Snapshot(rows, self._seconds_left(), self._all_work - sum(self.done.values()) <= 0)

    def _advance(self, work: str, now: float, worked: bool) -> None:
        """A piece of work is at `now` of its seconds."""
        for pace in (self._pace, self._paces[work]):
            pace.begin()
            if worked:
                pace.worked += max(now - self.done.get(work, 0.0), 0.0)
        self.done[work] = now

    def _show(self, work: str, now: str, fields: Mapping[str, object]) -> None:
        self._now[work] = now
        if work not in self._bars:
            self._bars[work] = self._progress.add_task(self.names[work], total=self._totals[work], now="")
        left = self._seconds_left_of(work)
        told = now if not left or now == FINISHED else f"{now} · {time_left(left)}"
        self._progress.update(self._bars[work], completed=self.done.get(work, 0.0), now=told)
        self._progress.update(self._all, completed=sum(self.done.values()), now=self.time_left())
        if not console.is_terminal and time.monotonic() - self._printed > SECONDS_BETWEEN_LINES:
            self._line(work, now, fields)

    def _line(self, work: str, what: str, fields: Mapping[str, object]) -> None:
        """A line of a log: what a chain is at, how long it has still, and how long the study."""
        self._printed = time.monotonic()
        left = self._seconds_left_of(work)
        of_it = f"{time_left(left)} of it, " if left and len(self.expected) > 1 else ""
        say(f"{self.names[work]}: {what}; {of_it}{self.time_left()}", **self._fields(work), **fields)

    def _fields(self, work: str) -> dict[str, object]:
        """What a structured line says of whose it is."""
        return {"chain": work, **self.fields.get(work, {})}

    def _seconds_left_of(self, work: str) -> float | None:
        """By its own pace; no longer than the study's, of which it is a part."""
        total = self._totals[work]
        left = total - self.done.get(work, 0.0)
        if left <= 0:
            return 0.0
        own, of_all = self._paces[work].seconds(left, total), self._seconds_left()
        return own if own is None or of_all is None else min(own, of_all)

    def _seconds_left(self) -> float | None:
        total = self._all_work
        return self._pace.seconds(total - sum(self.done.values()), total, self.planned)


def chain_name(chain: Chain) -> str:
    return f"{chain.condition} seed {chain.seed}"


def chain_fields(chains: Iterable[Chain]) -> dict[str, dict[str, object]]:
    """What a structured line says of a chain, by its identity."""
    return {chain.identity: {"condition": chain.condition, "seed": chain.seed} for chain in chains}


def _result(generation: Generation) -> str:
    perplexity = generation.metrics.get("test/perplexity")
    seconds = sum(value for name, value in generation.metrics.items() if name.startswith("seconds/"))
    if not seconds:
        return "done"
    return f"done in {seconds:.0f} s" + (f", test perplexity {perplexity:.1f}" if perplexity is not None else "")


def _order(key: tuple[int, str]) -> tuple[int, int]:
    generation, phase = key
    return generation, PHASES.index(phase) if phase in PHASES else -1
