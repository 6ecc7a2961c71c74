"""The lineage of every chain: what each generation was trained on, which model it came from, and where they are in MLflow.

What a training set was made of is the paper's mixture alpha p_model_i + beta p_i + gamma p_0, as it came out (`regimes`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from components.regimes import Regime, expected_weights
from components.report import graph
from components.report.settings import text

DIGEST_CHARACTERS = 8
STARTS = {
    "pretrained": "the base model",
    "generation0": "generation 0",
    "previous": "the generation before",
    "scratch": "random weights",
}


@dataclass(frozen=True)
class Step:
    """A generation: shares of its training set (None where unknown), digest of it, links, the weights that its fit began from.

    `exact`: the shares are those that were drawn, and not the regime's on average.
    """

    generation: int
    shares: tuple[float, float, float] | None
    exact: bool
    rows: str
    data: str
    start: str
    model: str
    model_page: str
    parent_model: str
    page: str
    status: str

    @property
    def percentages(self) -> list[str]:
        """Alpha, beta, gamma for people."""
        return [f"{share:.1%}".replace(".0%", "%") for share in self.shares or ()]


@dataclass(frozen=True)
class ChainLineage:
    condition: str
    seed: int
    steps: Sequence[Step]
    graph: graph.Graph


def lineages(
    runs: pd.DataFrame, metrics: pd.DataFrame | None, settings: Mapping[str, Any], family: str
) -> list[ChainLineage]:
    """A lineage for each chain among `runs` (`tracking.lineage`): conditions as the settings have them, seeds ascending."""
    shares = _drawn(metrics)
    places = {name: place for place, name in enumerate(settings.get("conditions", {}))}
    found = {(str(row.condition), int(str(row.seed))) for row in runs.itertuples()}
    chains = []
    for condition, seed in sorted(found, key=lambda chain: (places.get(chain[0], len(places)), *chain)):
        of_chain = runs[(runs["condition"] == condition) & (runs["seed"] == seed)]
        steps = [
            _step(row, shares.get((condition, seed, row["generation"]), {}), settings, family)
            for row in of_chain.to_dict("records")
        ]
        continued = any(step.start == STARTS["previous"] for step in steps[1:])
        drawn = [graph.Shown(step.generation, step.shares, step.data, step.page) for step in steps]
        chains.append(ChainLineage(condition, seed, steps, graph.draw(drawn, continued)))
    return chains


def _drawn(metrics: pd.DataFrame | None) -> Mapping[Any, Mapping[Any, float]]:
    """What was measured of the training sets, by condition, seed and generation."""
    if metrics is None:
        return {}
    found = metrics[metrics["metric"].isin(["data/rows", "data/alpha", "data/beta", "data/gamma"])]
    wide = found.pivot_table(index=["condition", "seed", "generation"], columns="metric", values="value")
    return wide.to_dict("index")


def _step(row: Mapping[Any, Any], drawn: Mapping[Any, float], settings: Mapping[str, Any], family: str) -> Step:
    index = int(row["generation"])
    condition = settings.get("conditions", {}).get(row["condition"], settings.get("condition", {}))
    shares = (drawn["data/alpha"], drawn["data/beta"], drawn["data/gamma"]) if "data/alpha" in drawn else None
    return Step(
        generation=index,
        shares=shares or _expected(condition, index),
        exact=shares is not None,
        rows=f"{drawn['data/rows']:,.0f}" if "data/rows" in drawn else "",
        data=row["data"][:DIGEST_CHARACTERS],
        start=_start(condition, settings, family, index),
        model=row["model"],
        model_page=row["model_page"],
        parent_model=row["parent_model"],
        page=row["page"],
        status=row["status"].lower(),
    )


def _expected(condition: Mapping[str, Any], generation: int) -> tuple[float, float, float] | None:
    """By the regime, where it is known and the sizes do not grow."""
    if "regime" not in condition or condition.get("growth"):
        return None
    return expected_weights(Regime(condition["regime"], condition.get("real_fraction", 0.0)), generation)


def _start(condition: Mapping[str, Any], settings: Mapping[str, Any], family: str, generation: int) -> str:
    """The weights that a fit began from; a family in memory begins from nothing."""
    if family in ("gaussian", "discrete", "mixture"):
        return ""
    start = condition.get("start") or settings.get("train", {}).get("start", "scratch")
    if generation == 0 and start in ("generation0", "previous"):
        start = "pretrained"
    base = settings.get("model", {})
    if start == "pretrained" and base.get("name"):
        return text(base["name"])
    if start == "pretrained" and not settings.get("base", {}).get("epochs"):
        start = "scratch"
    return STARTS[start]
