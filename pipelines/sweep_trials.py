"""A running sweep's trials: asked for from the books, told to them, to MLflow and to the terminal.

All of it runs in one thread, the one that runs Ray Tune's loop: it is the books', MLflow's and the terminal's only writer.
"""

import errno
import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pandas as pd

from components import logs, tracking
from components.config.sweep import Sweep
from components.figures.sweep import FittedCurve, SweepFigures
from components.measures.risk import RISKS
from components.recursion.loop import stored_generations
from components.recursion.machines import processors_of
from components.recursion.records import Generation
from components.recursion.worker import ChainWork
from components.store import Store
from components.sweep import answers, objectives, pruning, space, tables
from components.sweep.books import Books
from components.sweep.curve import Curve, fit
from components.sweep.trial import TrialWork, reports
from components.terminal import Snapshot, SweepProgress
from pipelines.outbox import Outbox
from pipelines.recorder import record
from pipelines.sweep_families import Runs


def books_folder(sweep: Sweep) -> str:
    """Where a sweep's books lie in the store."""
    return f"sweeps/{sweep.name}"


@dataclass
class Trials:
    """What `cluster.trials.Search` asks for. `most`: trials in all. `told`: takes how far they are, for others."""

    sweep: Sweep
    most: int
    books: Books
    runs: Runs
    store: Store
    run: tracking.Study
    progress: SweepProgress
    outbox: Outbox
    told: Callable[[Snapshot], None] = lambda snapshot: None
    failed: dict[str, str] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)
    _studies: dict[str, tracking.Study] = field(default_factory=dict)
    _asked: tuple[str, TrialWork] | None = None
    _full: bool = False
    _families: dict[str, Any] = field(default_factory=dict)
    _recorded: set[tuple[str, str, int]] = field(default_factory=set)
    _computed: dict[tuple[str, int], Generation] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.space = space.parse(self.sweep.settings.search)
        self.measure = RISKS[self.sweep.settings.family]
        pruning_ = self.sweep.settings.pruning
        last = self.sweep.study.generations
        self.rungs = pruning.rungs(last, pruning_.grace, pruning_.factor) if pruning_ else []

    def begin(self) -> bool:
        """Whether a trial needs workers: what the store has whole is told before any are started.

        First in line for MLflow is what an earlier start did not come to write of trials that had ended.
        """
        self._write_ended()
        self._asked = self._next()
        return self._asked is not None

    def ask(self) -> tuple[str, TrialWork] | None:
        """The next trial that needs workers."""
        asked, self._asked = self._asked or self._next(), None
        return asked

    def _next(self) -> tuple[str, TrialWork] | None:
        """The next trial: one that was interrupted, or a new one. A condition that was computed before costs nothing."""
        while not self._full and (
            asked := self.books.next(self.most, lambda trial: space.suggest(self.space, trial, self.sweep.given))
        ):
            number, point = asked
            last = self.sweep.study.generations
            name, condition, chains, stored = self._begin(number, point)
            found = min(map(len, stored))
            self.books.note_found(number, found)
            self.store.push(books_folder(self.sweep))
            self.progress.begin(name, condition, found)
            reported = sorted({0, *self.rungs, last}) if chains[0].family.in_memory else range(last + 1)
            if found <= last:
                return name, TrialWork(name, chains, reported, self.runs.block)
            self._replay(name, stored, reported)
        return None

    def _begin(
        self, number: int, point: Mapping[str, Any]
    ) -> tuple[str, str, list[ChainWork[Any]], list[list[Generation]]]:
        """A trial's name and its condition's, its chains, and what the store has of them; its run is first in line."""
        name, condition = f"trial-{number}", described(point)
        chains = self.runs.chains(self.sweep.with_conditions({condition: point}))
        last = self.sweep.study.generations
        stored = [list(stored_generations(one.chain, one.family, self.store, last)) for one in chains]
        self._numbers[name] = number
        self._families |= {one.chain.identity: one.family for one in chains}
        self.outbox.put(partial(self._open, name, number, condition, point))
        return name, condition, chains, stored

    def _write_ended(self) -> None:
        """Trials that ended, but not in MLflow: they were still in line there when everything was stopped."""
        written = tracking.ended_trials(self.run)
        ended = [one for one in self.books.asked() if self.books.state(one.number) != "running"]
        if missing := [one for one in ended if one.number not in written]:
            self.progress.say(f"{len(missing)} trials that ended earlier are not in MLflow yet: they are written now")
        for one in missing:
            state = self.books.state(one.number)
            name, _, _, stored = self._begin(one.number, one.user_attrs["point"])
            self._record(name, [one for generations in zip_longest(*stored) for one in generations if one])
            for numbers in self.books.reports(one.number).values():
                self.outbox.put(partial(self._report, name, numbers))
            self.outbox.put(partial(self._end, name, state))

    def _report(self, trial: str, numbers: Mapping[str, Any]) -> None:
        """A report to MLflow: the objectives, as far as the family has them, and the error's mean over seeds.

        Where trials are chosen on a validation split, the same numbers on it.
        """
        told = {name: float(numbers[name]) for name in objectives.OBJECTIVES if not math.isnan(numbers[name])}
        told[self.measure.metric] = objectives.mean_error(numbers)
        if self.measure.validation:
            told |= {name: float(numbers[name]) for name in objectives.STEERING.values()}
            told[self.measure.validation] = objectives.mean_error(numbers, objectives.VALIDATION)
        tracking.record_report(self._studies[trial], int(numbers["generation"]), told)

    def _end(self, trial: str, state: str) -> None:
        tracking.end_trial(self._studies[trial], state)

    def _replay(self, trial: str, stored: Sequence[Sequence[Generation]], reported: Collection[int]) -> None:
        """A trial whose chains are all in the store: it is told, and stopped, as one that is computed."""
        waiting: list[Generation] = []
        for generations, numbers in reports(zip(*stored, strict=True), reported, self.runs.block):
            waiting += generations
            if numbers:
                self._record(trial, waiting)
                waiting = []
                if self.hopeless(trial, numbers):
                    break
        self.tell(trial, None, True)

    def hopeless(self, trial: str, numbers: Mapping[str, Any]) -> bool:
        """Write down what a trial reported; whether it is to be stopped there."""
        number, generation = self._numbers[trial], int(numbers["generation"])
        names = ("generation", *objectives.OBJECTIVES, *objectives.STEERING.values(), "diverged")
        kept = {
            name: value
            for name, value in numbers.items()
            if name in names or name.startswith((objectives.ERROR, objectives.VALIDATION))
        }
        self.books.report(number, kept)
        self.store.push(books_folder(self.sweep))
        self.progress.reached(trial, kept, objectives.mean_error(kept))
        if why := kept.get("diverged"):
            self.progress.say(f"{trial}: diverged ({why}); its collapse counts as infinite")
        self.outbox.put(partial(self._report, trial, kept))
        if generation not in self.rungs or self.books.passed(number, generation):
            return False
        assert self.sweep.settings.pruning
        others = self.books.at(generation, but=number)
        values = objectives.steering(kept, self.books.objectives)
        stop = pruning.hopeless(values, others, self.sweep.settings.pruning.factor)
        if not stop:
            self.books.let_pass(number, generation)
        return stop

    def tell(self, trial: str, error: str | None, again: bool) -> None:
        """A trial ended. One that another try could bring further is left running in the books."""
        number = self._numbers[trial]
        reached = max(self.books.reports(number), default=-1)
        if error is None and reached == self.sweep.study.generations:
            self.books.complete(number)
        elif error is None:
            self.books.prune(number)
        elif not again:
            self.books.fail(number)
        if error:
            self.failed[trial] = error
            self._full = self._full or os.strerror(errno.ENOSPC) in error  # the next trial would end alike
        self.store.push(books_folder(self.sweep))
        state = "interrupted" if error and again else self.books.state(number)
        self.progress.ended(trial, state, error)
        self.outbox.put(partial(self._end, trial, self.books.state(number)))

    def watch(self, messages: list[Mapping[str, Any]]) -> None:
        """Take in what the workers sent. One write to MLflow a time: trials wait for this thread's decisions."""
        for message in messages:
            if warning := message.get(logs.WORKER_MESSAGE):
                logs.relay(warning)
            elif "failed" in message:
                pass  # `tell` says so of the trial
            elif generations := message.get("finished"):
                self._record(message["work"], generations)
                self.progress.finished(message["work"], generations[-1].index)
            elif "retry" in message:
                self.progress.say(f"{message['work']}: a worker died ({message['error']}); continuing from the store")
            else:
                self.progress.at(*(message[key] for key in ("work", "generation", "phase", "done", "total")))
        self.told(self.progress.snapshot())
        self.outbox.write(most=1)

    def table(self) -> pd.DataFrame:
        """trials.parquet (`tables.trials`)."""
        return tables.trials(self.books, list(self.sweep.settings.search), self.sweep.settings.threshold)

    def paths(self) -> pd.DataFrame:
        """generations.parquet (`tables.paths`)."""
        return tables.paths(self.books, self.measure)

    def processors(self) -> list[str]:
        """The kinds of processor that the trials were computed on."""
        return processors_of(self._computed.values(), self.store)

    def front(self) -> list[int]:
        """Trials that no other beats in every objective."""
        return self.books.front()

    def best(self) -> int | None:
        """The trial that is best on the validation split (`Books.best`)."""
        return self.books.best(self.sweep.settings.threshold)

    def curve(self) -> Curve | None:
        """Collapse against the real fraction, out of the trials that came to their end."""
        if "real_fraction" not in self.sweep.settings.search:
            return None
        return fit(self.ends())

    def ends(self) -> pd.DataFrame:
        """The last generation of every trial with a real fraction that came to its end, seed by seed, with what was searched."""
        table = self.table()
        fields = ["trial", *(name for name in ("real_fraction", "epochs") if name in table)]
        completed = table[(table["state"] == "completed") & table["real_fraction"].notna()][fields]
        paths = self.paths()
        return paths[paths["generation"] == self.sweep.study.generations].merge(completed, on="trial")

    def figures(self, table: pd.DataFrame, fitted: Curve | None) -> SweepFigures:
        """What the figures are drawn from."""
        threshold = self.sweep.settings.threshold
        return SweepFigures(
            trials=table,
            paths=self.paths(),
            fields=list(self.sweep.settings.search),
            objectives=self.books.objectives,
            measure=self.measure.name,
            unit=objectives.REAL_DATA[self.sweep.settings.family],
            study=self.books.study,
            best_means=answers.best_means(self.measure, self.books.objectives, threshold),
            best_so_far={trial: self.books.best(threshold, trial) for trial in table["trial"]},
            curve=_drawn(fitted, threshold) if fitted else None,
        )

    def _open(self, trial: str, number: int, condition: str, point: Mapping[str, Any]) -> None:
        if trial not in self._studies:
            name = f"{trial}: {condition}"
            self._studies[trial] = tracking.open_trial(self.run, number, name, condition, point)

    def _record(self, trial: str, generations: list[Generation]) -> None:
        new = [one for one in generations if (trial, one.chain.identity, one.index) not in self._recorded]
        self._recorded |= {(trial, one.chain.identity, one.index) for one in new}
        self._computed |= {(one.chain.identity, one.index if one.directories else 0): one for one in new}
        new.sort(key=lambda one: one.chain.seed)  # together what is of one chain
        last, seed = self.sweep.study.generations, self.sweep.study.seeds[0]
        record(self.outbox, lambda: self._studies[trial], self.store, new, last, self._artifacts, seed)

    def _artifacts(self, generation: Generation) -> Mapping[str, Path | str]:
        return self.runs.artifacts(generation, self._families[generation.chain.identity])


def described(point: Mapping[str, Any]) -> str:
    """A trial's settings in words, which is its condition's name."""
    words = {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in point.items()}
    return " ".join(f"{name}={word}" for name, word in words.items())


def _drawn(fitted: Curve, threshold: float) -> FittedCurve:
    least = fitted.least_fraction(threshold)
    return FittedCurve(
        line=fitted.line(),
        by_seed=fitted.by_seed(),
        note="a (1 - f) / sqrt(1 + f / k) fitted to the completed trials"
        + ("" if math.isnan(fitted.epochs) else f", at {fitted.epochs:.3g} epochs")
        + (
            "; one seed: no band"
            if len(fitted.seeds) == 1
            else f"; 95 % band from {fitted.trials} trials and {len(fitted.seeds)} seeds; thin: each seed's height"
        ),
        threshold=threshold,
        least=(least.value, least.low, least.high),
    )
