"""What every entry point does around its own family: refuse bad input, run chains on the cluster, write one study.

Messages from the workers arrive here, in one thread: it is the study's only writer to MLflow and to the terminal. The
store is the truth; what MLflow could not take for now is kept in line and written when it answers again.
"""

import errno
import hashlib
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from components import cluster, tracking
from components.config.errors import BadInput
from components.figures import save_all
from components.figures.report import write_report
from components.figures.samples import Sample, samples_markdown
from components.figures.table import closing_table
from components.recursion.records import Generation
from components.terminal import StudyProgress, console, print_closing_table

PROJECT = Path(__file__).resolve().parents[1]
SECONDS_BETWEEN_TRIES = 5
SECONDS_FOR_TRACKING = 120
BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130


def run_command(command: Callable[[Sequence[str]], None], arguments: Sequence[str]) -> None:
    """Run an entry point and end the process: 0, or 2 with one line for each fault of the input, 1 for failed chains."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what `mlflow run` sends on Ctrl-C
    try:
        command(arguments)
    except BadInput as fault:
        print(fault, file=sys.stderr)
        sys.exit(BAD_INPUT)
    except cluster.Failed as failure:
        for name, error in failure.errors.items():
            print(f"{name}: {error}", file=sys.stderr)
        print("What was finished is in the store: the same command continues from there.", file=sys.stderr)
        sys.exit(FAILED)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(
            f"{error}. What was finished is in the store: with more space the same command continues.", file=sys.stderr
        )
        sys.exit(FAILED)
    except tracking.TrackingUnavailable as error:
        print(
            f"MLflow did not answer: {error}. All results are in the store: the same command writes them.",
            file=sys.stderr,
        )
        sys.exit(FAILED)
    except KeyboardInterrupt:
        print("Stopped. The same command continues from what was finished.", file=sys.stderr)
        sys.exit(INTERRUPTED)


@dataclass
class Recorder:
    """The study's one writer: generations as they finish, in order within each chain, each written once.

    `last`: the generation that a chain ends with.
    """

    study: tracking.Study
    progress: StudyProgress
    last: int
    samples: Callable[[Generation], list[Sample]]
    generations: dict[tuple[str, int], Generation] = field(default_factory=dict)
    _waiting: deque[Generation] = field(default_factory=deque)
    _next_try: float = 0.0
    _away: bool = False

    def watch(self, messages: list[Mapping[str, Any]]) -> None:
        """Take in what the workers sent: progress goes to the terminal, finished generations to MLflow."""
        for message in messages:
            if "finished" in message:
                generation: Generation = message["finished"]
                if (generation.chain.identity, generation.index) in self.generations:
                    continue  # found in the store before its workers started
                self.generations[generation.chain.identity, generation.index] = generation
                self.progress.finished(generation)
                self._waiting.append(generation)
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
            try:
                generation = self._waiting[0]
                shown = self.samples(generation)
                page = samples_markdown(
                    [sample.prompt for sample in shown],
                    [sample.continuation for sample in shown],
                    generation.index,
                    [sample.perplexity for sample in shown],
                )
                tracking.record(self.study, generation, {"samples.md": page})
                if generation.index == self.last:
                    tracking.end_chain(self.study, generation.chain, "FINISHED")
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
            for generation in self._in_order()
            for metric, value in generation.metrics.items()
        ]
        return pd.DataFrame(rows, columns=["condition", "seed", "generation", "metric", "value"])

    def scores(self) -> pd.DataFrame:
        """Perplexities of single sequences: condition, seed, generation, set, row, loss, perplexity."""
        frames = [
            pd.read_parquet(generation.directories["measure"] / "scores.parquet").assign(
                condition=generation.chain.condition, seed=generation.chain.seed, generation=generation.index
            )
            for generation in self._in_order()
        ]
        return pd.concat(frames, ignore_index=True)

    def close(
        self, title: str, settings: Mapping[str, Any], summary: Mapping[str, float], status: tracking.Status
    ) -> None:
        """Figures, report and closing table of what was finished; ends the study's run with `summary` as its numbers."""
        metrics = self.metrics()
        print_closing_table(title, closing_table(metrics))
        self.flush()
        with TemporaryDirectory() as folder:
            figures = save_all(metrics, self.scores(), Path(folder) / "figures")
            samples = [sample for generation in self._in_order() for sample in self.samples(generation)]
            report = write_report(Path(folder) / "report.html", title, settings, metrics, figures, samples)
            tracking.close_study(
                self.study,
                status,
                metrics=metrics,
                figures=Path(folder) / "figures",
                report=report,
                summary=summary,
            )
        console.print(f"Browse it with `make ui`: {tracking.address(self.study)}")

    def _in_order(self) -> list[Generation]:
        names = list(self.progress.names)
        return sorted(
            self.generations.values(), key=lambda generation: (names.index(generation.chain.identity), generation.index)
        )


@contextmanager
def closing(study: tracking.Study) -> Iterator[None]:
    """Ends the study's run as failed or killed when what is done within does not come to its end."""
    try:
        yield
    except BaseException as error:
        try:
            tracking.close_study(study, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        except tracking.TrackingUnavailable as away:
            console.print(f"MLflow does not answer ({away}): the study's run stays open there")
        raise


def study_identity(entry_point: str, chains: Sequence[str], generations: int) -> str:
    """What makes two commands the same study: its chains, and how far they go."""
    return hashlib.sha256("\n".join([entry_point, *chains, str(generations)]).encode()).hexdigest()
