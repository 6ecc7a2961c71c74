"""`mlflow run . -e sweep`: how much real data is enough, and what do more epochs do? Trials over whole chains.

    settings -> search space -> trials (Optuna asks, Ray Tune runs, each a condition x seeds) -> curve, figures, table

A sweep has a name. Under it, its books in the store know every trial, so the same command goes on where it was stopped.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from components import cluster, tracking
from components.cluster.trials import run_trials_in_groups, run_trials_in_tasks
from components.config import sweep as config
from components.config.sweep import Sweep
from components.figures import sweep as figures
from components.figures.table import readable
from components.measures.risk import RISKS, Risk
from components.recursion.worker import ChainWork
from components.report import write_report
from components.scorecard import conditional_on
from components.store import Store
from components.sweep import answers, books, objectives, space
from components.terminal import Snapshot, SweepProgress, print_table, say
from pipelines.drawn import overlapping
from pipelines.facts import facts_of
from pipelines.outbox import Outbox
from pipelines.recursion_plan import base_crew
from pipelines.study import PROJECT, ask_workers, closing, run_command, told
from pipelines.sweep_families import Runs, runs_of
from pipelines.sweep_plan import check_chains, check_given, check_objectives, expected_cost, print_plan, trials_in_all
from pipelines.sweep_trials import Trials, books_folder


def sweep(arguments: Sequence[str]) -> None:
    """Run the sweep that the arguments describe, or what is left of it.

    Raises:
        BadInput: something about the settings, or what they name, cannot work; nothing was started.
        cluster.Failed: a trial did not come to its end.
    """
    chosen = config.load(arguments)
    settings, study = chosen.settings, chosen.study
    searched = space.parse(settings.search)
    space.check(searched, settings.search, chosen.condition)
    check_given(chosen, searched)
    gridded = settings.sampler == "grid"
    first = space.grid(searched, settings.search, chosen.given) if gridded else space.anchors(searched)
    most = trials_in_all(chosen, len(first))
    check_objectives(chosen)
    store = Store.open(study.store.path, study.store.cache)
    folder = store.pull(books_folder(chosen))
    begun = books.begun(folder, chosen.determining)
    computing, capacity = ask_workers(study, store, chosen.determining)
    runs = runs_of(chosen, store, computing)
    corners = check_chains(chosen, searched, runs)
    side_by_side = runs.side_by_side(corners, capacity, study.cluster.concurrent_chains)
    tracker = tracking.connect(study.tracking, "sweep", PROJECT)
    left = max(most - len(begun), 0) + begun.count("running")
    cost = expected_cost(chosen, runs, searched, first, left, capacity)
    together = min(side_by_side, most)
    bound = runs.fitting(capacity).bound(max(runs.workers, 1), together, runs.needed(corners, capacity))
    notes = [*runs.notes, f"{together} trials side by side: {bound}"]
    print_plan(chosen, most, len(begun), left, cost, notes)
    if study.dry_run:
        return
    if cost:
        store.check_room(cost.bytes)
    name = f"sweep-{chosen.name}"
    with store.only_one(name), told(store, settings, name) as tell:
        books.keep_settings(folder, chosen.determining)
        book = books.open_books(folder, settings.sampler, settings.sampler_seed, settings.objectives, first)
        store.push(books_folder(chosen))
        run = tracking.open_study(
            tracker,
            name=f"{chosen.name}, {most} trials",
            family=settings.family,
            identity=book.identity,
            config=chosen.yaml(),
            settings=chosen.dump(),
            kind="sweep",
        )
        with closing(run):
            _run(chosen, most, book, runs, corners, store, run, tell)


def _run(
    chosen: Sweep,
    most: int,
    book: books.Books,
    runs: Runs,
    corners: Sequence[ChainWork[Any]],
    store: Store,
    run: tracking.Study,
    tell: Callable[[Snapshot], None],
) -> None:
    measure = RISKS[chosen.settings.family]
    with SweepProgress(most, chosen.study.generations, measure.name) as progress:
        trials = Trials(chosen, most, book, runs, store, run, progress, Outbox(progress.say), tell)
        if trials.begin():
            _compute(chosen, runs, corners, store, trials)
    _close(chosen, trials, run, corners)
    if trials.failed:
        raise cluster.Failed({name: RuntimeError(error) for name, error in trials.failed.items()})


def _compute(chosen: Sweep, runs: Runs, corners: Sequence[ChainWork[Any]], store: Store, trials: Trials) -> None:
    """Base models that are pretrained here, one after the other; then trials side by side as they fit.

    `corners`: chains like those of the trials.
    """
    settings = chosen.study.cluster
    with cluster.connect(settings) as capacity:
        gpu = runs.fitting(capacity).gpus > 0
        need = runs.needed(corners, capacity)
        side_by_side = runs.side_by_side(corners, capacity, settings.concurrent_chains)
        if not runs.workers:
            run_trials_in_tasks(
                trials, side_by_side, settings.max_failures, trials.watch, gpu, need.memory, runs.deterministic
            )
            return
        crew = cluster.Crew(
            workers=runs.workers,
            side_by_side=min(trials.most, side_by_side),
            gpu=gpu,
            storage=store.root / "ray",
            max_failures=settings.max_failures,
            memory=need.memory,
            deterministic=runs.deterministic,
        )
        to_make = [base for base in runs.bases if not (base.name or base.find())]
        bases: dict[str, cluster.Work] = {base.title: base for base in to_make}
        if bases:
            cluster.run_groups(bases, base_crew(crew, runs.bases[0], capacity), trials.watch)
        run_trials_in_groups(trials, crew, trials.watch)


def _close(chosen: Sweep, trials: Trials, run: tracking.Study, corners: Sequence[ChainWork[Any]]) -> None:
    """Closing table, figures and report of what there is; ends the sweep's run. `corners`: chains like those of the trials."""
    table = trials.table()
    closing_table = readable(_closing_table(table, list(chosen.settings.search), RISKS[chosen.settings.family]))
    print_table(f"Sweep {chosen.name}", closing_table)
    fitted = trials.curve()
    threshold = chosen.settings.threshold
    said = answers.answers(
        fitted,
        RISKS[chosen.settings.family],
        threshold,
        chosen.study.generations,
        "real_fraction" in chosen.settings.search,
    )
    if fitted:
        said += answers.left_out(trials.ends())
    if fitted and len(fitted.seeds) > 1:
        said.append(_conditional_on(corners, trials.processors()))
    said.append(answers.how_chosen(RISKS[chosen.settings.family], chosen.settings.objectives, threshold, trials.best()))
    if len(found := answers.table(fitted, threshold)):
        print_table("Answers", found)
    for sentence in said:
        say(sentence)
    trials.outbox.flush()
    tracking.mark_best(run, trials.best(), trials.front())
    title = f"Sweep {chosen.name}: {len(table)} trials"
    with TemporaryDirectory() as place:
        drawn = figures.save_all(trials.figures(table, fitted), Path(place) / "figures")
        report = Path(place) / "report.html"
        note = "numbers at the last generation reached, means over seeds; seconds, where they are measured, of all seeds together"
        status: tracking.Status = "FAILED" if trials.failed else "FINISHED"
        here, runs = tracking.read_back(run)
        write_report(
            report,
            title,
            chosen.dump(),
            closing_table,
            drawn,
            figures.CAPTIONS,
            sentences=said,
            note=note,
            run=replace(here, status=status),
            runs=runs,
            processors=trials.processors(),
        )
        tracking.close_study(
            run,
            status,
            figures=Path(place) / "figures",
            report=report,
            summary=answers.numbers(fitted, threshold),
            tables={"trials": table, "generations": trials.paths()},
        )
    say(f"Browse it with `make ui`: {tracking.address(run)}")


def _conditional_on(corners: Sequence[ChainWork[Any]], processors: Sequence[str]) -> str:
    """What the intervals of the answers do not cover. The sampling error of a test split is no part of them."""
    chains, drawn = [work.chain for work in corners], corners[0].family.in_memory
    facts = facts_of(chains, processors, drawn=drawn, overlapping=overlapping(corners))
    said = conditional_on(facts)
    return said if drawn else f"{said} The sampling error of the test split is not included."


def _closing_table(table: pd.DataFrame, fields: Sequence[str], risk: Risk) -> pd.DataFrame:
    known = [
        name for name in objectives.OBJECTIVES if table[name].notna().any()
    ]  # seconds are not, where nothing is timed
    chosen_by = list(objectives.STEERING.values()) if risk.validation else []
    shown = ["trial", *fields, "state", "generation", "error", *known, *chosen_by]
    return table[shown].rename(columns={"error": risk.name, "generation": "gen."})


if __name__ == "__main__":
    run_command(sweep, sys.argv[1:])
