"""The study's one writer: what the workers send goes to the terminal and to MLflow, and at the end onto the page.

The store is the truth; what MLflow could not take for now is kept in line and written when it answers again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from components import logs, tracking
from components.figures.samples import Sample
from components.figures.table import readable, shortened
from components.recursion.machines import processors_of
from components.recursion.records import Generation
from components.report import write_report
from components.scorecard import Judgement
from components.store import Store
from components.terminal import Snapshot, StudyProgress, print_table, say
from pipelines.outbox import Outbox
from pipelines.scores import TIDY


@dataclass
class Recorder:
    """Generations as they finish, in order within each chain, each written once.

    `last`: the generation that a chain ends with. `artifacts`: a generation's own files and texts, by name. `told`: takes
    how far the study is, for others. `first_seed`: as of `record`.
    """

    study: tracking.Study
    store: Store
    progress: StudyProgress
    last: int
    artifacts: Callable[[Generation], Mapping[str, Path | str]] = lambda generation: {}
    told: Callable[[Snapshot], None] = lambda snapshot: None
    first_seed: int = 0
    generations: dict[tuple[str, int], Generation] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.outbox = Outbox(self.progress.say)

    def watch(self, messages: list[Mapping[str, Any]]) -> None:
        """Take in what the workers sent: progress goes to the terminal, finished generations to MLflow."""
        for message in messages:
            if warning := message.get(logs.WORKER_MESSAGE):
                logs.relay(warning)
            elif generations := message.get("finished", message.get("found")):
                new = [one for one in generations if (one.chain.identity, one.index) not in self.generations]
                self.generations |= {(one.chain.identity, one.index): one for one in new}
                record(self.outbox, lambda: self.study, self.store, new, self.last, self.artifacts, self.first_seed)
                if new:  # else found in the store before its workers started
                    self.progress.finished(new[-1], found="found" in message)
            elif "retry" in message:
                name = self.progress.names[message["work"]]
                self.progress.say(f"{name}: a worker died ({message['error']}); continuing from the store")
            elif "failed" in message:
                self.progress.failed(message["work"], message["failed"])
            else:
                self.progress.at(*(message[key] for key in ("work", "generation", "phase", "done", "total")))
        self.told(self.progress.snapshot())
        self.outbox.write()

    def metrics(self) -> pd.DataFrame:
        """Return the tidy numbers of the study: condition, seed, generation, metric, value."""
        alike = groupby(self.in_order(), lambda one: (one.chain.identity, tuple(one.metrics)))
        parts = [_tidy(list(generations)) for _, generations in alike]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=TIDY)

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
        derived: Callable[[], pd.DataFrame] = pd.DataFrame,
        judge: Callable[[pd.DataFrame], Judgement] | None = None,
    ) -> None:
        """Closing table, figures and report of what was finished; ends the study's run with `summary` as its numbers.

        `table` and `draw` make the family's closing table and figures (into a folder) out of the study's tidy numbers;
        `captions` say what the figures show, by name. `derived`: tidy numbers that take several phases together. `judge`
        makes the scorecard and the collapse profile out of all of them.
        """
        metrics = pd.concat([self.metrics(), derived()], ignore_index=True)
        judged = judge(metrics) if judge else None
        closing = readable(table(metrics))
        print_table(title, shortened(closing))
        if judged:
            _print_judgement(judged)
        self.outbox.flush()
        run, runs = tracking.read_back(self.study)
        with TemporaryDirectory() as folder:
            figures = draw(metrics, Path(folder) / "figures")
            report = Path(folder) / "report.html"
            write_report(
                report,
                title,
                settings,
                closing,
                figures,
                captions,
                samples(),
                sentences=[note] if judged and (note := judged.power_note()) else [],
                finding=judged.finding if judged else (),
                scorecard=judged.scorecard if judged else None,
                profile=judged.profile if judged else None,
                metrics=metrics,
                run=replace(run, status=status),
                runs=runs,
                processors=processors_of(self.generations.values(), self.store),
            )
            tracking.close_study(
                self.study,
                status,
                metrics=metrics,
                tables={"scorecard": judged.scorecard, "profile": judged.profile} if judged else {},
                figures=Path(folder) / "figures",
                report=report,
                summary={**(summary or {}), **(judged.headline if judged else {})},
                description=judged.description() if judged else "",
            )
        say(f"Browse it with `make ui`: {tracking.address(self.study)}")

    def in_order(self) -> list[Generation]:
        """What was finished, chain by chain as the study lists them."""
        names = {name: place for place, name in enumerate(self.progress.names)}
        return sorted(self.generations.values(), key=lambda one: (names[one.chain.identity], one.index))


def _tidy(generations: Sequence[Generation]) -> pd.DataFrame:
    """Return the numbers of generations of one chain that have the same metrics, as columns: a long chain has thousands."""
    names = list(generations[0].metrics)
    return pd.DataFrame(
        {
            "condition": generations[0].chain.condition,
            "seed": generations[0].chain.seed,
            "generation": np.repeat([one.index for one in generations], len(names)),
            "metric": np.tile(names, len(generations)),
            "value": np.array([list(one.metrics.values()) for one in generations], float).ravel(),
        }
    )


def _print_judgement(judged: Judgement) -> None:
    """What happened, and what the intervals behind it do not cover; the page has the tables."""
    for sentence in judged.finding:
        say(sentence)
    if judged.conditional_on:
        say(judged.conditional_on)
    if counts := judged.counts():
        say(f"{counts} Every claim with its interval is in report.html and scorecard.parquet of the study's run.")


def record(
    outbox: Outbox,
    study: Callable[[], tracking.Study],
    store: Store,
    generations: Sequence[Generation],
    last: int,
    artifacts: Callable[[Generation], Mapping[str, Path | str]],
    first_seed: int,
) -> None:
    """Put generations in line for MLflow, below `study`; a chain's run ends with its generation `last`.

    Of chains in memory, those of `first_seed`, which the figures show, have runs for some generations.
    """
    for _, group in groupby(generations, lambda one: one.chain.identity):
        together = list(group)
        chain, ended = together[0].chain, together[-1].index == last
        if together[0].directories:
            for one in together:
                outbox.put(partial(_record, study, store, one, artifacts))
        else:
            outbox.put(partial(_record_curve, study, together, chain.seed == first_seed, ended))
        if ended:
            outbox.put(lambda chain=chain: tracking.end_chain(study(), chain, "FINISHED"))  # type: ignore[misc]


def _record_curve(
    study: Callable[[], tracking.Study], generations: Sequence[Generation], runs: bool, ended: bool
) -> None:
    tracking.record_curve(study(), generations, runs, ended)


def _record(
    study: Callable[[], tracking.Study],
    store: Store,
    generation: Generation,
    artifacts: Callable[[Generation], Mapping[str, Path | str]],
) -> None:
    for place in generation.directories.values():
        store.bring(place, weights=study().tracking.models == "full")
    tracking.record(study(), generation, artifacts(generation))
