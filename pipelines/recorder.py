"""The study's one writer: what the workers send goes to the terminal and to MLflow, and at the end onto the page.

The store is the truth; what MLflow could not take for now is kept in line and written when it answers again.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from components import tracking
from components.figures.report import write_report
from components.figures.samples import Sample
from components.figures.table import readable
from components.recursion.records import Generation
from components.terminal import StudyProgress, console, print_table

SECONDS_BETWEEN_TRIES = 5
SECONDS_FOR_TRACKING = 120


@dataclass
class Recorder:
    """Generations as they finish, in order within each chain, each written once.

    `last`: the generation that a chain ends with. `artifacts`: a generation's own files and texts, by name.
    """

    study: tracking.Study
    progress: StudyProgress
    last: int
    artifacts: Callable[[Generation], Mapping[str, Path | str]] = lambda generation: {}
    generations: dict[tuple[str, int], Generation] = field(default_factory=dict)
    _waiting: deque[Generation] = field(default_factory=deque)
    _next_try: float = 0.0
    _away: bool = False

    def watch(self, messages: list[Mapping[str, Any]]) -> None:
        """Take in what the workers sent: progress goes to the terminal, finished generations to MLflow."""
        for message in messages:
            if generations := message.get("finished", message.get("found")):
                new = [one for one in generations if (one.chain.identity, one.index) not in self.generations]
                self.generations |= {(one.chain.identity, one.index): one for one in new}
                self._waiting += new
                if new:  # else found in the store before its workers started
                    self.progress.finished(new[-1], found="found" in message)
            elif "retry" in message:
                name = self.progress.names[message["work"]]
                self.progress.say(f"{name}: a worker died ({message['error']}); continuing from the store")
            else:
                self.progress.at(*(message[key] for key in ("work", "generation", "phase", "done", "total")))
        self._write()

    def flush(self) -> None:
        """Write what still waits. Raises `TrackingUnavailable` if MLflow stays away."""
        until = time.monotonic() + SECONDS_FOR_TRACKING
        while self._waiting:
            self._next_try = 0.0
            self._write(final=time.monotonic() > until)
            if self._waiting:
                time.sleep(SECONDS_BETWEEN_TRIES)

    def _write(self, final: bool = False) -> None:
        while self._waiting and time.monotonic() >= self._next_try:
            first = self._waiting[0]
            try:
                if first.directories:
                    together = [first]
                    tracking.record(self.study, first, self.artifacts(first))
                else:
                    together = list(takewhile(partial(_of_one_chain, first), self._waiting))
                    tracking.record_curve(self.study, together)
                if together[-1].index == self.last:
                    tracking.end_chain(self.study, first.chain, "FINISHED")
                for _ in together:
                    self._waiting.popleft()
                self._away = False
            except tracking.TrackingUnavailable as error:
                if final:
                    raise
                if not self._away:
                    self.progress.say(f"MLflow does not answer ({error}): results wait in the store")
                self._away = True
                self._next_try = time.monotonic() + SECONDS_BETWEEN_TRIES

    def metrics(self) -> pd.DataFrame:
        """Tidy numbers of the study: condition, seed, generation, metric, value."""
        rows = [
            (generation.chain.condition, generation.chain.seed, generation.index, metric, float(value))
            for generation in self.in_order()
            for metric, value in generation.metrics.items()
        ]
        return pd.DataFrame(rows, columns=["condition", "seed", "generation", "metric", "value"])

    def close(
        self,
        title: str,
        settings: Mapping[str, Any],
        status: tracking.Status,
        table: Callable[[pd.DataFrame], pd.DataFrame],
        draw: Callable[[pd.DataFrame, Path], list[Path]],
        captions: Mapping[str, str],
        samples: Callable[[], list[Sample]] = list,
        summary: Mapping[str, float] | None = None,
    ) -> None:
        """Closing table, figures and report of what was finished; ends the study's run with `summary` as its numbers.

        `table` and `draw` make the family's closing table and figures (into a folder) out of the study's tidy numbers;
        `captions` say what the figures show, by name.
        """
        metrics = self.metrics()
        closing = readable(table(metrics))
        print_table(title, closing)
        self.flush()
        with TemporaryDirectory() as folder:
            figures = draw(metrics, Path(folder) / "figures")
            report = Path(folder) / "report.html"
            write_report(report, title, settings, closing, figures, captions, samples())
            tracking.close_study(
                self.study,
                status,
                metrics=metrics,
                figures=Path(folder) / "figures",
                report=report,
                summary=summary,
            )
        console.print(f"Browse it with `make ui`: {tracking.address(self.study)}")

    def in_order(self) -> list[Generation]:
        """What was finished, chain by chain as the study lists them."""
        names = {name: place for place, name in enumerate(self.progress.names)}
        return sorted(self.generations.values(), key=lambda one: (names[one.chain.identity], one.index))


def _of_one_chain(one: Generation, other: Generation) -> bool:
    return one.chain.identity == other.chain.identity
