"""The paper's claims about language models, as differences of a study's numbers, one a seed.

Perplexities are compared by their logarithms (nats a token), so that a difference is a ratio of perplexities. Where a claim
wants two conditions, their chains of one seed are a pair: they share the real data, and where they train and decode alike
generation 0 too. What a study has not run cannot be asked of it; such claims are listed without a number.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from components.measures.tails import BEYOND

PERPLEXITY = "test/perplexity"
MEDIAN = "synthetic/perplexity_under_generation0_median"
TAIL = "synthetic/beyond_real_p99"
RARE, ENTROPY = "synthetic/rare_token_mass", "synthetic/entropy_1"
ONE_PER_CENT = 0.01


@dataclass(frozen=True)
class Claim:
    """`differences`: by seed, above nought where the claim holds; empty where the study did not run what it takes.

    `smallest`: the least difference worth speaking of, in `unit`.
    """

    text: str
    conditions: str
    definition: str
    unit: str
    smallest: float
    differences: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Numbers:
    """A study's numbers: rows (condition, seed, generation), a column a metric; and each condition's chain settings."""

    table: pd.DataFrame
    settings: Mapping[str, Mapping[str, Any]]

    def of(self, condition: str, metric: str) -> pd.DataFrame:
        """Generations down, seeds across; without generations that a seed has not reached."""
        if metric not in self.table:
            return pd.DataFrame()
        return self.table[metric].loc[condition].unstack("seed").dropna()

    def change(self, condition: str, metric: str) -> pd.Series:
        """From generation 0 to the last one, of the logarithm; by seed."""
        found = self.of(condition, metric)
        if len(found) < 2:
            return pd.Series(dtype=float)
        logs = np.log(found.to_numpy())
        return pd.Series(logs[-1] - logs[0], index=found.columns)


def numbers(metrics: pd.DataFrame, settings: Mapping[str, Mapping[str, Any]]) -> Numbers:
    """Out of tidy metrics (condition, seed, generation, metric, value)."""
    table = metrics.pivot_table(index=["condition", "seed", "generation"], columns="metric", values="value")
    return Numbers(table, settings)


def language_claims(study: Numbers) -> list[Claim]:
    """Every claim, for every condition or pair of conditions that can be asked."""
    alone = [name for name, of in study.settings.items() if of["regime"] == {"name": "replace", "real_fraction": 0.0}]
    claims = [claim for name in alone for claim in _of_one(study, name)]
    kept = [pair for name in alone for pair in _partners(study, name, _keeps_real)]
    fined = [pair for name in alone for pair in _partners(study, name, _is_penalised)]
    return [*claims, *_keeping(study, kept), *_penalty(study, fined)]


def _of_one(study: Numbers, name: str) -> Iterator[Claim]:
    yield Claim(
        "Perplexity on real data rises with the generations",
        name,
        "logarithm of the test perplexity, last generation minus generation 0",
        "nats a token",
        ONE_PER_CENT,
        _by_seed(study.change(name, PERPLEXITY)),
    )
    yield Claim(
        "Under generation 0 the bulk of what is written becomes more likely",
        name,
        "logarithm of the median perplexity of the samples under generation 0, generation 0's minus the last one's",
        "nats a token",
        ONE_PER_CENT,
        _by_seed(-study.change(name, MEDIAN)),
    )
    tail = study.of(name, TAIL)
    yield Claim(
        "Text appears that generation 0 would hardly have written",
        name,
        f"share of the last generation's samples beyond the {BEYOND:.0%} quantile of real text, both under generation 0, minus "
        f"the {1 - BEYOND:.0%} that real text has there",
        "share of the samples",
        (1 - BEYOND) / 10,
        _by_seed(tail.iloc[-1] - (1 - BEYOND)) if len(tail) > 1 else {},
    )
    rare, entropy = study.of(name, RARE), study.of(name, ENTROPY)
    yield Claim(
        "The tail goes before the bulk",
        name,
        "share of the mass of rare tokens that generation 1 has lost of generation 0's, minus the same share of the entropy",
        "share",
        ONE_PER_CENT,
        _by_seed(entropy.iloc[1] / entropy.iloc[0] - rare.iloc[1] / rare.iloc[0]) if len(rare) > 1 else {},
    )


def _keeping(study: Numbers, pairs: list[tuple[str, str]]) -> Iterator[Claim]:
    text = "Keeping real data lessens the rise"
    definition = "rise of the logarithm of the test perplexity without real data minus the rise with it"
    if not pairs:
        yield Claim(text, "no condition that keeps real data", definition, "nats a token", ONE_PER_CENT)
    for without, kept in pairs:
        fraction = study.settings[kept]["regime"]["real_fraction"]
        yield Claim(
            f"Keeping {fraction:.0%} real data lessens the rise",
            f"{without}, {kept}",
            definition + _also(study, without, kept),
            "nats a token",
            ONE_PER_CENT,
            _by_seed(study.change(without, PERPLEXITY) - study.change(kept, PERPLEXITY)),
        )


def _penalty(study: Numbers, pairs: list[tuple[str, str]]) -> Iterator[Claim]:
    text = "A repetition penalty makes the rise worse"
    definition = "rise of the logarithm of the test perplexity with the penalty minus the rise without"
    if not pairs:
        yield Claim(text, "no condition with a penalty beside one without", definition, "nats a token", ONE_PER_CENT)
    for without, fined in pairs:
        yield Claim(
            text,
            f"{without}, {fined}",
            definition + _also(study, without, fined),
            "nats a token",
            ONE_PER_CENT,
            _by_seed(study.change(fined, PERPLEXITY) - study.change(without, PERPLEXITY)),
        )


def _partners(study: Numbers, name: str, differs: Any) -> list[tuple[str, str]]:
    return [(name, other) for other, of in study.settings.items() if differs(study.settings[name], of)]


def _keeps_real(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return _alike(one, other, "sample", "start", "data") and (
        other["regime"]["name"] == "replace" and other["regime"]["real_fraction"] > 0
    )


def _is_penalised(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return _alike(one, other, "regime", "start", "data") and (
        other["sample"]["repetition_penalty"] > one["sample"]["repetition_penalty"] == 1.0
    )


def _alike(one: Mapping[str, Any], other: Mapping[str, Any], *parts: str) -> bool:
    return all(one[part] == other[part] for part in parts)


def _also(study: Numbers, one: str, other: str) -> str:
    """What of the training differs besides, as in the paper's two settings."""
    first, second = study.settings[one]["fit"], study.settings[other]["fit"]
    found = [f"{name} {first[name]} and {second[name]}" for name in first if first[name] != second[name]]
    return f"; they differ in {', '.join(found)} too" if found else ""


def _by_seed(values: pd.Series) -> dict[int, float]:
    return {int(str(seed)): float(value) for seed, value in values.dropna().items()}
