"""What a sweep will run, and what that will cost, before anything is started."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from components import cluster
from components.config import refuse, unused
from components.config.errors import BadInput
from components.config.sweep import TRIAL, Sweep
from components.recursion.worker import ChainWork
from components.sweep import objectives, space
from components.sweep.space import Point, Space
from components.terminal import duration, print_table, say
from pipelines.sweep_families import Runs

CORNERS_TRIED = 64  # that many chains are made in seconds
DRAWN = 32  # trials whose mean cost is every trial's: their epochs differ


@dataclass(frozen=True)
class Cost:
    """What is still to be done, should no trial be stopped early: wall time on this machine, and bytes for the store."""

    seconds: float
    bytes: int


def trials_in_all(chosen: Sweep, points: int) -> int:
    """How many trials there will be: as many as asked for, or a grid's points.

    Raises:
        BadInput: a sampler without an end, and no number given.
    """
    given = chosen.settings.trials
    if chosen.settings.sampler == "grid":
        return min(given or points, points)
    if given is None:
        raise BadInput("trials", "null", f"{chosen.settings.sampler} never ends by itself; give a number of trials")
    return given


def check_objectives(chosen: Sweep) -> None:
    """Whether collapse and cost can be measured.

    Raises:
        BadInput: an objective that does not exist, or none that could be measured.
    """
    for name in chosen.settings.objectives:
        if name not in objectives.OBJECTIVES:
            raise BadInput("objectives", name, f"no such objective; there are {', '.join(objectives.OBJECTIVES)}")
        if name == "seconds" and chosen.settings.family not in objectives.TIMED:
            remedy = f"chains of {chosen.settings.family} take no time worth measuring; give collapse, cost or both"
            raise BadInput("objectives", name, remedy)
    if chosen.study.generations < 1:
        raise BadInput(
            "generations", chosen.study.generations, "collapse is measured against generation 0; give 1 or more"
        )


def check_given(chosen: Sweep, searched: Space) -> None:
    """Refuse what the user gave and no trial goes by.

    Raises:
        BadInput: one line for every such setting.
    """
    corners = space.corners(searched, CORNERS_TRIED)
    conditions = {f"{TRIAL}-{number}": space.applicable(corner, chosen.given) for number, corner in enumerate(corners)}
    study = chosen.with_conditions(conditions)
    refuse(unused.faults_of_sweep(chosen.settings, study, conditions, chosen.by_user))


def check_chains(chosen: Sweep, searched: Space, runs: Runs) -> list[ChainWork[Any]]:
    """Make and return the chains of the space's corners: what a family refuses is refused before any trial is begun.

    Raises:
        BadInput: a corner cannot be run, or a searched field changes nothing anywhere.
    """
    corners = space.corners(searched, CORNERS_TRIED)
    chains, works = [], []
    for corner in corners:
        try:
            made = runs.chains(chosen.with_conditions({TRIAL: space.applicable(corner, chosen.given)}))
        except BadInput as fault:
            name = fault.field.removeprefix(f"conditions.{TRIAL}.")
            searched_or_given = "search" if name in searched else "condition"
            field = fault.field if name == fault.field else f"{searched_or_given}.{name}"
            raise BadInput(field, fault.value, fault.remedy) from None
        works += made
        chains.append([one.chain.identity for one in made])
    for field in searched:
        by_others: dict[str, list[list[str]]] = {}
        for corner, identities in zip(corners, chains, strict=True):
            others = json.dumps({name: value for name, value in corner.items() if name != field}, sort_keys=True)
            by_others.setdefault(others, []).append(identities)
        several = any(len(group) > 1 for group in by_others.values())  # a choice of one is a setting
        if several and all(identities == group[0] for group in by_others.values() for identities in group):
            text = chosen.settings.search[field]
            raise BadInput(f"search.{field}", text, "it changes nothing beside these settings; take it out with null")
    return works


def expected_cost(
    chosen: Sweep,
    runs: Runs,
    searched: Space,
    points: Sequence[Point],
    left: int,
    capacity: cluster.Capacity | None = None,
) -> Cost | None:
    """What `left` trials cost, from the mean of `points`, or of points drawn from the space where those are not all.

    None where nothing is left, or where the family has no formula for its cost (all but language). `capacity`: of the
    cluster; of this machine if None.
    """
    if not left or not runs.costs:
        return None
    drawn = points if chosen.settings.sampler == "grid" else space.draw(searched, chosen.given, DRAWN)
    chains = [
        chain for point in drawn for chain in runs.chains(chosen.with_conditions({"drawn": point}))
    ]  # point by point: two that are drawn alike are one condition twice
    capacity = capacity or cluster.this_machine()
    costs = runs.costs(chains, capacity)
    identities = [chain.chain.identity for chain in chains]
    trials = [cost for identity in identities for cost in costs[identity]]
    base = [cost for name, found in costs.items() if name not in identities for cost in found]
    share = left / len(drawn)
    side_by_side = min(left, runs.side_by_side(chains, capacity, chosen.study.cluster.concurrent_chains))
    seconds = cluster.seconds_to_start() + share * sum(sum(cost.seconds.values()) for cost in trials) / side_by_side
    return Cost(
        seconds + sum(sum(cost.seconds.values()) for cost in base),
        round(share * sum(cost.bytes for cost in trials)) + sum(cost.bytes for cost in base),
    )


def print_plan(chosen: Sweep, most: int, begun: int, left: int, cost: Cost | None, notes: Sequence[str]) -> None:
    """Trials, seeds, generations, what is searched, disk and time, and what there is to say of the real data."""
    settings, study = chosen.settings, chosen.study
    say(
        f"Sweep {chosen.name}: {most} trials"
        + (f", {begun} of them begun earlier" if begun else "")
        + f"; each {len(study.seeds)} seeds, generations 0-{study.generations}; {settings.sampler}, "
        f"objectives {', '.join(settings.objectives)}"
    )
    for note in notes:
        say(note)
    if cost:
        say(
            f"{left} trials to run: at most about {duration(cost.seconds)} on this machine (measured just "
            f"now) and {cost.bytes / 1e6:,.0f} MB in the store; less where some are stopped early"
        )
    rows = [(f"search.{field}", str(text)) for field, text in settings.search.items()]
    rows += [(f"condition.{field}", str(value)) for field, value in chosen.given.items()]
    print_table("Search", pd.DataFrame(rows, columns=["field", "range"]))
