"""The discrete family: frequencies fitted to draws, and drawn from again; any distribution over K outcomes is in the class.

A batch of chains advances together, as counts of outcomes (`counts`). The model class holds the truth and the fit is
exact, so there is no functional error: what changes is the statistical one's doing (the paper's section on discrete
distributions, a Markov chain whose only absorbing states are single outcomes).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.families.discrete import counts
from components.measures.spread import spread
from components.recursion.family import Arrays, Origin, Pool, Step
from components.regimes import Regime
from components.store import identity

FORMAT = 2
"""To be raised with any change of the code that changes a chain's numbers: what an older version left is not taken then."""


@dataclass(frozen=True)
class DiscreteFamily:
    """`chains` chains whose real data are `rows` draws from `probabilities` (K,)."""

    chains: int
    rows: int
    probabilities: tuple[float, ...]
    shown: tuple[int, ...] = ()

    name = "discrete"
    in_memory = True
    data_folder = None

    @property
    def settings(self) -> Mapping[str, Any]:
        return {
            "fit": {"chains": self.chains},
            "sample": {"rows": self.rows},
            "measure": {"shown": self.shown, "format": FORMAT},
        }

    def digests(self) -> Mapping[str, str]:
        truth = identity("distribution", {"probabilities": self.probabilities})
        return {"training": truth, "evaluation": truth}

    def base(self) -> None:
        return None

    def compose(self, regime: Regime, pool: Pool[Arrays], out: Arrays, step: Step) -> dict[str, float]:
        """`counts` (chains, K) of what every chain is trained on next; `pool` or `real` where later ones pick from it."""
        random = np.random.default_rng(step.random)
        if not pool.sampled:
            out["counts"] = counts.draw(np.tile(self.probabilities, (self.chains, 1)), self.rows, random)
            if regime.picks_rows:
                out["pool"] = out["counts"]
            return {"data/rows": self.rows}
        assert pool.trained is not None
        newest = pool.sampled[-1]["counts"]
        if regime.name == "accumulate":
            out["counts"] = pool.trained["counts"] + newest
        elif regime.name == "subsample":
            out["pool"] = pool.trained["pool"] + newest
            out["counts"] = counts.pick(out["pool"], self.rows, random)
        elif regime.real_fraction:
            real = out["pool"] = pool.trained["pool"]
            kept = round(regime.real_fraction * self.rows)
            out["counts"] = counts.pick(real, kept, random) + counts.pick(newest, self.rows - kept, random)
        else:
            out["counts"] = newest
        return {"data/rows": int(out["counts"][0].sum())}

    def fit(
        self, composed: Arrays, pool: Pool[Arrays], start: Arrays | None, out: Arrays, step: Step
    ) -> dict[str, float]:
        """The frequencies: `probabilities` (chains, K)."""
        out["probabilities"] = composed["counts"] / composed["counts"].sum(axis=1, keepdims=True)
        return {}

    def sample(self, fitted: Arrays, origin: Origin[Arrays], out: Arrays, step: Step) -> dict[str, float]:
        """Counts of `rows` draws from every chain's model."""
        out["counts"] = counts.draw(fitted["probabilities"], self.rows, np.random.default_rng(step.random))
        return {"synthetic/rows": self.rows}

    def measure(
        self, fitted: Arrays, sampled: Arrays, origin: Origin[Arrays], out: Arrays, step: Step
    ) -> dict[str, float]:
        """How much of the truth every chain's model still holds, as mean and quantiles over chains.

        `support`, outcomes that can still occur; `absorbed`, share of chains with one left; `heterozygosity`, the
        probability that two draws differ; `total_variation` to the truth; `rarest_half`, the mass on the outcomes that
        share the least likely half of the truth's mass (the tail).
        """
        model, truth = fitted["probabilities"], np.array(self.probabilities)
        support = (model > 0).sum(axis=1)
        return {
            **spread("support", support),
            "absorbed": float((support == 1).mean()),
            **spread("heterozygosity", 1 - (model**2).sum(axis=1)),
            **spread("total_variation", np.abs(model - truth).sum(axis=1) / 2),
            **spread("rarest_half", model[:, _rarest_half(truth)].sum(axis=1)),
        }


def _rarest_half(probabilities: np.ndarray) -> np.ndarray:
    """The least likely outcomes, as many as hold at most half the mass."""
    order = np.argsort(probabilities, kind="stable")
    return order[np.cumsum(probabilities[order]) <= 0.5 + 1e-12]
