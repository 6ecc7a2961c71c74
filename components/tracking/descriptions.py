"""What the pages of chains, generations and model versions say in words: how far each is from generation 0.

A chain's first chart is that curve, too: MLflow sorts charts by name, and `collapse/...` comes before all others.
"""

import math

from components.measures.risk import RISKS, Risk
from components.recursion.records import Chain, Generation
from components.scorecard.finding import number


def curve(family: str) -> str:
    """The name of a chain's first chart, such as `collapse/test_perplexity`."""
    return "collapse/" + RISKS[family].metric.replace("/", "_")


def risk_of(generation: Generation) -> float:
    """The generation's error on real data; nan where it was not measured, and of a family that names none."""
    risk = RISKS.get(generation.chain.family)
    return generation.metrics.get(risk.metric, math.nan) if risk else math.nan


def of_generation(family: str, index: int, value: float, first: float) -> str:
    """Such as "Generation 4: perplexity on real text 256, 3.01 times generation 0's."."""
    if math.isnan(value):
        return f"Generation {index}."
    risk = RISKS[family]
    return f"Generation {index}: {risk.plain} {number(value)}{_beside(risk, value, first) if index else ''}."


def of_chain(chain: Chain, index: int, value: float, first: float) -> str:
    """Such as "no-real-data, seed 0: perplexity on real text 85 in generation 0, 256 in generation 4, ..."."""
    name = f"{chain.condition}, seed {chain.seed}"
    if math.isnan(value) or math.isnan(first):
        return f"{name}: to generation {index}."
    risk = RISKS[chain.family]
    if not index:
        return f"{name}: {risk.plain} {number(first)} in generation 0."
    ends = f"{number(first)} in generation 0, {number(value)} in generation {index}"
    return f"{name}: {risk.plain} {ends}{_beside(risk, value, first)}."


def _beside(risk: Risk, value: float, first: float) -> str:
    if math.isnan(first):
        return ""
    if risk.in_nats:
        return f", {number(abs(value - first))} nats {'above' if value >= first else 'below'} generation 0's"
    return f", {number(value / first)} times generation 0's" if first > 0 else ""
