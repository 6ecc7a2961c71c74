"""A sweep's books: an Optuna study in the store that knows every trial, what it reported, and how it ended.

It is written in the thread that runs the sweep. A trial that was running when everything was killed is still running in
the books: the next start goes on with it under its number.

Reports hold both collapses, on the test and on the validation split. Optuna gets the one on the validation split, and
trials are compared by it (`objectives.STEERING`); what is shown of a trial comes from its reports.
"""

import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from components.config import dotted
from components.config.errors import BadInput
from components.sweep.objectives import VALIDATION, steering
from components.sweep.space import Point

DATABASE, SETTINGS = "study.db", "settings.json"
GENERATION = "generation "  # what a trial reported after one, among its attributes
STARTING = 8  # trials drawn at random before a sampler learns from them

SAMPLERS: Mapping[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: TPESampler(n_startup_trials=STARTING, constant_liar=True, seed=seed),
    "random": lambda seed: RandomSampler(seed=seed),
    "gp": lambda seed: GPSampler(n_startup_trials=STARTING, seed=seed),
    "grid": lambda seed: RandomSampler(seed=seed),  # every point of a grid is enqueued
}
STATES = {TrialState.COMPLETE: "completed", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
STATES |= {TrialState.RUNNING: "running", TrialState.WAITING: "waiting"}


@dataclass
class Books:
    """The trials of one sweep. `objectives`: their names, all the less the better."""

    study: optuna.Study
    sampler: str
    seed: int
    objectives: Sequence[str]
    _resumed: list[int] = field(default_factory=list)

    def next(self, most: int, suggest: Callable[[Trial], Point]) -> tuple[int, Point] | None:
        """The number and the point of the next trial: one that was interrupted first, then new ones up to `most`."""
        if self._resumed:
            number = self._resumed.pop(0)
            self._seed_sampler(number)
            trial = self.trial(number)
        elif (number := len(self.asked())) < most:
            self._seed_sampler(number)
            trial = self.study.ask()
        else:
            return None
        point = suggest(trial)
        trial.set_user_attr("point", point)
        return trial.number, point

    def note_found(self, number: int, generations: int) -> None:
        """Keep how many generations the store had when the trial was first begun."""
        if "found" not in self.frozen()[number].user_attrs:
            self.trial(number).set_user_attr("found", generations)

    def _seed_sampler(self, number: int) -> None:
        """By number: a sweep that was stopped goes on as one that was not, instead of with its first points."""
        self.study.sampler = SAMPLERS[self.sampler](_seed(self.seed, number))

    def report(self, number: int, numbers: Mapping[str, Any]) -> None:
        """What a trial reported after a generation; the same again changes nothing."""
        trial, generation = self.trial(number), int(numbers["generation"])
        trial.set_user_attr(f"{GENERATION}{generation}", dict(numbers))
        if len(self.objectives) == 1 and generation not in self.frozen()[number].intermediate_values:
            trial.report(steering(numbers, self.objectives)[0], generation)

    def reports(self, number: int) -> dict[int, Mapping[str, Any]]:
        """What a trial reported, by generation."""
        found = {
            int(name.removeprefix(GENERATION)): numbers
            for name, numbers in self.frozen()[number].user_attrs.items()
            if name.startswith(GENERATION)
        }
        return dict(sorted(found.items()))

    def at(self, generation: int, but: int) -> list[list[float]]:
        """What all trials but one are compared by at a generation."""
        found = []
        for one in self.frozen():
            numbers = one.user_attrs.get(f"{GENERATION}{generation}")
            if numbers and one.number != but:
                found.append(steering(numbers, self.objectives))
        return found

    def passed(self, number: int, generation: int) -> bool:
        """Whether a trial was allowed to go on after a generation: decided once, also where it reports there again."""
        return bool(self.frozen()[number].user_attrs.get(f"passed {generation}"))

    def let_pass(self, number: int, generation: int) -> None:
        self.trial(number).set_user_attr(f"passed {generation}", True)

    def complete(self, number: int) -> None:
        """Report a trial as complete, with the values of its last generation."""
        last = list(self.reports(number).values())[-1]
        self.study.tell(number, steering(last, self.objectives))

    def prune(self, number: int) -> None:
        """Report a trial as pruned; its last values are not a result."""
        self.study.tell(number, state=TrialState.PRUNED)

    def fail(self, number: int) -> None:
        """A trial failed in a way that another try would repeat."""
        self.study.tell(number, state=TrialState.FAIL)

    def front(self) -> list[int]:
        """Completed trials that no other one beats in every objective; none of those that diverged."""
        finite = {one.number for one in self._finite()}
        return [one.number for one in self.study.best_trials if one.number in finite] if finite else []

    def best(self, threshold: float, last: int | None = None) -> int | None:
        """The best trial by its objective; None where no trial came to its end, or all of them diverged.

        By collapse and other objectives: the cheapest trial whose collapse is under `threshold`, that is the one with the
        least of the first of the others; where none is under it, the one with the least collapse.

        Args:
            last: only trials up to this number count.
        """
        found = [one for one in self._finite() if last is None or one.number <= last]
        values = {one.number: dict(zip(self.objectives, one.values, strict=True)) for one in found}
        order = list(self.objectives)
        if len(order) > 1 and "collapse" in order:
            order.remove("collapse")
            if not any(of["collapse"] <= threshold for of in values.values()):
                order.insert(0, "collapse")
            else:
                values = {number: of for number, of in values.items() if of["collapse"] <= threshold}
                order.append("collapse")
        return min(values, key=lambda number: [values[number][name] for name in order], default=None)

    def _finite(self) -> list[FrozenTrial]:
        """Completed trials whose values are all numbers."""
        completed = [one for one in self.frozen() if one.state == TrialState.COMPLETE]
        return [one for one in completed if np.isfinite(one.values).all()]

    @property
    def identity(self) -> str:
        """Made with the books: whose trials they are, wherever the store lies."""
        return str(self.study.user_attrs["identity"])

    def trial(self, number: int) -> Trial:
        return Trial(self.study, self.frozen()[number]._trial_id)

    def frozen(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def asked(self) -> list[FrozenTrial]:
        """Trials that were asked for; points that wait in line are none yet."""
        return [one for one in self.frozen() if one.state != TrialState.WAITING]

    def state(self, number: int) -> str:
        return STATES[self.frozen()[number].state]


def open_books(folder: Path, sampler: str, seed: int, objectives: Sequence[str], first: Sequence[Point]) -> Books:
    """Open the books of the sweep in `folder`, or begin them. `first`: points to be tried before the sampler is asked."""
    folder.mkdir(parents=True, exist_ok=True)
    study = _study(folder, len(objectives))
    if "identity" not in study.user_attrs:
        study.set_user_attr("identity", uuid.uuid4().hex)
    # One after the other, and only what is not in line yet: Optuna would compare each with all the others.
    enqueued = study.user_attrs.get("enqueued", 0)
    for place, point in enumerate(first[enqueued:], enqueued):
        study.enqueue_trial(point, skip_if_exists=place == enqueued)  # in line already where a kill came in between
        study.set_user_attr("enqueued", place + 1)
    running = [one.number for one in study.get_trials(states=(TrialState.RUNNING,))]
    return Books(study, sampler, seed, objectives, running)


def begun(folder: Path, settings: Mapping[str, Any]) -> list[str]:
    """The states of the trials that the sweep in `folder` has begun.

    Args:
        settings: all that determines the sweep, as JSON.

    Raises:
        BadInput: it was begun with other settings (the message names one), or by a version that chose by the test
            split, whose values do not compare with those of new trials.
    """
    if not (folder / SETTINGS).exists():
        return []
    before = dict(dotted(json.loads((folder / SETTINGS).read_text())))
    now = dict(dotted(json.loads(json.dumps(settings))))
    for name in sorted(before.keys() | now.keys()):
        if _spaceless(before.get(name)) != _spaceless(now.get(name)):
            remedy = (
                f"the sweep {folder.name} in this store was begun with {before.get(name)}; give that, or another name"
            )
            raise BadInput(name, now.get(name), remedy)
    if not (folder / DATABASE).exists():
        return []
    try:
        trials = _study(folder, None).get_trials(deepcopy=False)
    except KeyError:
        return []  # a kill came between the database and the study in it
    reports = [numbers for one in trials for name, numbers in one.user_attrs.items() if name.startswith(GENERATION)]
    if not all(any(name.startswith(VALIDATION) for name in numbers) for numbers in reports):
        remedy = (
            "this sweep was begun by a version that chose its trials on the test split; give another name: "
            "what its chains computed is found in the store"
        )
        raise BadInput("name", folder.name, remedy)
    return [STATES[one.state] for one in trials if one.state != TrialState.WAITING]


def _spaceless(value: Any) -> Any:
    """`uniform(0, 1)` is `uniform(0,1)`."""
    return re.sub(r"\s", "", value) if isinstance(value, str) else value


def keep_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """What another start of the sweep will be held against."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"{SETTINGS}.draft"
    draft.write_text(json.dumps(settings, indent=1, sort_keys=True))
    draft.replace(folder / SETTINGS)


def _study(folder: Path, objectives: int | None) -> optuna.Study:
    storage = RDBStorage(f"sqlite:///{folder / DATABASE}")
    if objectives is None:
        return optuna.load_study(study_name=folder.name, storage=storage)
    directions = [StudyDirection.MINIMIZE] * objectives
    return optuna.create_study(storage=storage, study_name=folder.name, directions=directions, load_if_exists=True)


def _seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
