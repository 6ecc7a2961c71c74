"""The paper's claims about language models, as differences of a study's numbers, one a seed.

Perplexities are compared by their logarithms (nats a token), so that a difference is a ratio of perplexities. Where a claim
wants two conditions, their chains of one seed are a pair: they share the real data, and where they train and decode alike
generation 0 too. What a study has not run cannot be asked of it; such claims are listed without a number.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
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
PENALTY = "A repetition penalty makes the rise worse"


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
        """Generations down, seeds across, without generations that a seed has not reached; empty without generation 0 and a later one."""
        if metric not in self.table:
            return pd.DataFrame()
        found = self.table[metric].loc[condition].unstack("seed").dropna()
        return found if len(found) > 1 and 0 in found.index else found.iloc[:0]

    def change(self, condition: str, metric: str) -> pd.Series:
        """From generation 0 to the last one, of the logarithm; by seed."""
        found = self.of(condition, metric)
        if found.empty:
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
    pairs = [(name, other) for name in alone for other in study.settings]
    kept = [pair for pair in pairs if _keeps_real(*map(study.settings.__getitem__, pair))]
    fined = [pair for pair in pairs if _is_penalised(*map(study.settings.__getitem__, pair))]
    lessens = "rise of the logarithm of the test perplexity without real data minus the rise with it"
    worse = "rise of the logarithm of the test perplexity with the penalty minus the rise without"
    return [
        *claims,
        *_of_pairs(study, kept, _keeping, lessens, -1, "no condition that keeps real data"),
        *_of_pairs(study, fined, lambda _: PENALTY, worse, 1, "no condition with a penalty beside one without"),
    ]


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
        {} if tail.empty else _by_seed(tail.iloc[-1] - (1 - BEYOND)),
    )
    rare, entropy = study.of(name, RARE), study.of(name, ENTROPY)
    first = {}
    if 1 in rare.index and 1 in entropy.index:
        first = _by_seed(pd.Series(entropy.loc[1] / entropy.loc[0] - rare.loc[1] / rare.loc[0]))
    yield Claim(
        "The tail goes before the bulk",
        name,
        "share of the mass of rare tokens that generation 1 has lost of generation 0's, minus the same share of the entropy",
        "share",
        ONE_PER_CENT,
        first,
    )


def _of_pairs(
    study: Numbers,
    pairs: Sequence[tuple[str, str]],
    text: Callable[[Mapping[str, Any] | None], str],
    definition: str,
    sign: int,
    missing: str,
) -> Iterator[Claim]:
    """That the second condition's rise of perplexity is more (`sign` 1) or less (-1) than the first's, of each pair."""
    if not pairs:
        yield Claim(text(None), missing, definition, "nats a token", ONE_PER_CENT)
    for first, second in pairs:
        yield Claim(
            text(study.settings[second]),
            f"{first}, {second}",
            definition + _also(study, first, second),
            "nats a token",
            ONE_PER_CENT,
            _by_seed(sign * (study.change(second, PERPLEXITY) - study.change(first, PERPLEXITY))),
        )


def _keeping(kept: Mapping[str, Any] | None) -> str:
    share = f"{kept['regime']['real_fraction']:.0%} " if kept else ""
    return f"Keeping {share}real data lessens the rise"


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
