"""Where every chain of a study is, and how long still.

At a terminal the lines move; elsewhere (a log, CI) a line is printed for every finished generation, and now and then
between them.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from components.recursion.records import PHASES, Chain, Generation
from components.terminal.printing import console, time_left

SECONDS_BETWEEN_LINES = 20


@dataclass
class StudyProgress:
    """Progress of a study's chains, weighed by the seconds that the plan expects of every phase.

    `expected` maps a piece of work to the seconds of its phases by (generation, phase). The time left is that of the
    seconds expected, stretched by how the work so far compared; what the store had is not counted as work.
    """

    names: Mapping[str, str]
    expected: Mapping[str, Mapping[tuple[int, str], float]]
    done: dict[str, float] = field(default_factory=dict)
    _worked: float = 0.0
    _printed: float = 0.0
    _began: float | None = None
    _bars: dict[str, TaskID] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns = (TextColumn("{task.description:<28}"), BarColumn(24), TextColumn("{task.percentage:>3.0f} %"))
        self._progress = Progress(
            *columns,
            TimeElapsedColumn(),
            TextColumn("{task.fields[now]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._all = self._progress.add_task("study", total=self._total(), now="starting workers")

    def __enter__(self) -> "StudyProgress":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def at(self, work: str, generation: int, phase: str, done: int, total: int) -> None:
        """A phase of a piece of work is at `done` of `total`."""
        self._began = self._began or time.monotonic()  # the workers' start is behind us
        phases = self.expected[work]
        before = sum(seconds for key, seconds in phases.items() if _order(key) < _order((generation, phase)))
        now = before + phases.get((generation, phase), 0.0) * done / max(total, 1)
        if done:  # at a phase's beginning, what lies before it was found in the store
            self._worked += max(now - self.done.get(work, 0.0), 0.0)
        self.done[work] = now
        what = f"generation {generation} · {phase}" if generation >= 0 else phase
        self._show(work, f"{what} {100 * done // max(total, 1)} %")

    def finished(self, generation: Generation, found: bool = False) -> None:
        """A generation is finished, or was found in the store."""
        work, phases = generation.chain.identity, self.expected[generation.chain.identity]
        end = _order((generation.index, PHASES[-1]))
        now = sum(seconds for key, seconds in phases.items() if _order(key) <= end)
        if not found:
            self._began = self._began or time.monotonic()
            self._worked += max(now - self.done.get(work, 0.0), 0.0)
        self.done[work] = now
        self._show(work, f"generation {generation.index} done")
        slow = bool(generation.directories)  # of a family in memory hundreds are finished a second
        if not console.is_terminal and (slow or time.monotonic() - self._printed > SECONDS_BETWEEN_LINES):
            self._printed = time.monotonic()
            console.print(
                f"{self.names[work]}: generation {generation.index} {_result(generation)}; {self.time_left()}"
            )

    def say(self, line: str) -> None:
        console.print(line)

    def time_left(self) -> str:
        """How long still, in words; nothing is promised before something was computed."""
        left = self._total() - sum(self.done.values())
        if left <= 0:
            return "nearly done"
        if self._began is None or self._worked < 0.01 * self._total():
            return "time left not known yet"
        seconds = left * (time.monotonic() - self._began) / self._worked
        return time_left(seconds)

    def _show(self, work: str, now: str) -> None:
        if work not in self._bars:
            self._bars[work] = self._progress.add_task(
                self.names[work], total=sum(self.expected[work].values()), now=""
            )
        self._progress.update(self._bars[work], completed=self.done[work], now=now)
        self._progress.update(self._all, completed=sum(self.done.values()), now=self.time_left())
        if not console.is_terminal and time.monotonic() - self._printed > SECONDS_BETWEEN_LINES:
            self._printed = time.monotonic()
            console.print(f"{self.names[work]}: {now}; {self.time_left()}")

    def _total(self) -> float:
        return sum(sum(phases.values()) for phases in self.expected.values())


def chain_name(chain: Chain) -> str:
    return f"{chain.condition} seed {chain.seed}"


def _result(generation: Generation) -> str:
    perplexity = generation.metrics.get("test/perplexity")
    seconds = sum(value for name, value in generation.metrics.items() if name.startswith("seconds/"))
    if not seconds:
        return "done"
    return f"done in {seconds:.0f} s" + (f", test perplexity {perplexity:.1f}" if perplexity is not None else "")


def _order(key: tuple[int, str]) -> tuple[int, int]:
    generation, phase = key
    return generation, PHASES.index(phase) if phase in PHASES else -1
