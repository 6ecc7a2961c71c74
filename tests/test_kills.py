"""A short study struck at random moments in random ways, again and again, ends with the very numbers of one left in peace.

`make test-faults` strikes a few times; `KILLS=100 make test-kills` as often as it says.
"""

import os
import signal
import time
from collections.abc import Iterator
from itertools import count as counting
from pathlib import Path
from random import Random

import psutil
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from components.store import read_manifest
from tests.recorded import MlflowClient, check_once
from tests.studies import SECONDS, Place, kill_tree, left_of, train_workers

KILLS, KILLS_A_STUDY = int(os.environ.get("KILLS", "8")), 8
STUDY = ("--generations", "1", "--base.epochs", "1")
CHAINS, GENERATIONS = 1, 2
PHASES = ("", "base", "compose", "fit", "sample", "measure")
STRIKES = ("everything", "driver", "worker", "SIGTERM", "SIGINT")
DAMAGES, DAMAGED = ("flip", "truncate", "delete"), 0.3

pytestmark = [pytest.mark.faults, pytest.mark.timeout((KILLS + 4) * SECONDS)]


@pytest.fixture(scope="module")
def undisturbed(prepared: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = prepared.copy_to(tmp_path_factory.mktemp("undisturbed"))
    ended = place.run(*STUDY)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return place


class StruckStudy(RuleBasedStateMachine):
    """`tally`: kills and damaged files over all examples, by kind; no more come once `KILLS` kills have met a running study.

    What is drawn never depends on what became of the study: how far that is, no seed decides.
    """

    prepared: Place
    undisturbed: Place
    folders: Iterator[Path]
    steps: Iterator[int]
    tally: dict[str, int]
    capsys: pytest.CaptureFixture[str]

    def __init__(self) -> None:
        super().__init__()
        self.wanted, self.struck, self.ended, self.damaged = self.kills() < KILLS, False, False, 0
        if self.wanted:
            self.place = self.prepared.copy_to(next(self.folders))

    @rule(seed=st.integers(0, 2**32))
    def step(self, seed: int) -> None:
        """One rule, for Hypothesis leaves out some of several; and a seed of it, for what it draws is often nought, or the same
        again: with the step's number it is another one each time."""
        random = Random(f"{seed} {next(self.steps)}")
        strike = random.choice(PHASES), random.uniform(0, 2), random.choice(STRIKES)
        files = self._files() if self.wanted and self.struck and random.random() < DAMAGED else []
        if files:
            self.damage(random.choice(files), random.choice(DAMAGES))
        elif self.wanted and not self.ended:
            self.strike(*strike)

    def strike(self, phase: str, seconds: float, how: str) -> None:
        """Strike so long after a phase began, or the study if it has passed that phase already."""
        with self.place.start(*STUDY) as study:
            begun = time.monotonic()
            while phase and study.poll() is None and not self.place._unfinished(phase):
                time.sleep(0.005)
                if time.monotonic() - begun > SECONDS:
                    raise AssertionError(f"neither {phase} nor an end")
            time.sleep(seconds if phase else 4 * seconds)
            if study.poll() is None:
                self.count(f"{how} {'in ' + phase if phase else 'at any moment'}")
            if how == "everything":
                kill_tree(study.pid)
            elif how == "driver":
                study.kill()
            elif how == "worker":
                for worker in train_workers(study) if study.poll() is None else []:
                    worker.kill()
            else:
                study.send_signal(getattr(signal, how))
            output, errors = study.communicate(timeout=SECONDS)
            assert left_of(self.place) == [], (phase, how, seconds)
        if how in ("SIGTERM", "SIGINT") and "Plan" in output:
            assert study.returncode in (0, 130), errors[-2000:]
        if how == "worker":
            assert study.returncode == 0, errors[-2000:]
        self.ended, self.struck = study.returncode == 0 or self._recorded(), True
        self.only_whole_phases_are_finished()

    @classmethod
    def count(cls, what: str) -> None:
        cls.tally[what] = cls.tally.get(what, 0) + 1

    @classmethod
    def kills(cls) -> int:
        return sum(count for how, count in cls.tally.items() if how not in DAMAGES)

    def damage(self, file: Path, how: str) -> None:
        """Of a finished file: one bit other, the half, or nothing."""
        content = bytearray(file.read_bytes())
        if how == "delete":
            file.unlink()
        elif how == "truncate":
            file.write_bytes(content[: len(content) // 2])
        else:
            content[len(content) // 2] ^= 1
            file.write_bytes(content)
        self.damaged += 1
        self.ended = self.struck = False
        self.count(how)

    def only_whole_phases_are_finished(self) -> None:
        if self.damaged:
            return
        for manifest in self.place.store.glob("*/*/manifest.json"):
            if manifest.parts[-3] != "unfinished":
                files = read_manifest(manifest.parent)["files"]
                assert all((manifest.parent / name).stat().st_size == entry["bytes"] for name, entry in files.items())

    def teardown(self) -> None:
        if not self.wanted:
            return
        if not self.ended:
            ended = self.place.run(*STUDY)
            assert ended.returncode == 0, ended.stderr[-2000:]
        assert self.place.numbers().equals(self.undisturbed.numbers())
        if not self.damaged:
            assert sorted(self.place.computed()) == sorted(self.undisturbed.computed())
            check_once(self.place.uri, "recursion", CHAINS, GENERATIONS)
        with self.capsys.disabled():
            print(f"\n{self.kills()} kills, 0 differences: {dict(sorted(self.tally.items()))}", flush=True)

    def _recorded(self) -> bool:
        """Whether MLflow has the study as finished: who strikes after that comes too late, and a repetition is a new study."""
        client = MlflowClient(tracking_uri=self.place.uri)
        experiment = client.get_experiment_by_name("recursion")
        query = "tags.`recursion.kind` = 'study' and attributes.status = 'FINISHED'"
        return experiment is not None and bool(client.search_runs([experiment.experiment_id], query))

    def _files(self) -> list[Path]:
        files = self.place.store.glob("*/*/**/*")
        return sorted(
            file
            for file in files
            if file.is_file() and file.relative_to(self.place.store).parts[0] not in ("chains", "unfinished", "locks")
        )


def test_a_study_that_is_struck_at_random_ends_with_the_very_numbers_of_one_left_in_peace(
    prepared: Place, undisturbed: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    numbers = counting()

    class Struck(StruckStudy):
        pass

    Struck.prepared, Struck.undisturbed, Struck.tally, Struck.capsys = prepared, undisturbed, {}, capsys
    Struck.folders, Struck.steps = (tmp_path / str(number) for number in numbers), counting()
    before = {process.pid for process in psutil.process_iter()}
    run_state_machine_as_test(
        Struck,
        settings=settings(
            max_examples=KILLS,  # more than it takes
            stateful_step_count=KILLS_A_STUDY,
            phases=[Phase.generate],
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert Struck.kills() >= KILLS
    assert not [
        one for one in psutil.process_iter() if one.pid not in before and one.name() in ("raylet", "gcs_server")
    ]
