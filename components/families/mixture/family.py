"""The mixture family: Gaussian mixtures fitted by EM and sampled again (the paper's figure 7).

A batch of chains advances together. Samples are held as rows, (chains, n, 2): EM reads them all. Where a regime draws on
older ones they are kept in a buffer, and `accumulate` fits ever more of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import chdtri

from components.families.mixture import em
from components.families.mixture.mixture import Mixture, draw, moments, squared_l2
from components.measures.spread import spread
from components.recursion.family import Arrays, Origin, Pool, Step
from components.recursion.rows import appended
from components.regimes import Regime, distinct
from components.store import identity

TAIL = 0.01
TAIL_DRAWS = 100_000
"""Share of a unit Gaussian's draws that lie further from its centre than what counts as the tail."""

FORMAT = 3
"""To be raised with any change of the code that changes a chain's numbers: what an older version left is not taken then."""


@dataclass(frozen=True)
class MixtureFamily:
    """`chains` chains whose real data are `rows` draws from unit Gaussians at `centres`, each as likely as the others."""

    chains: int
    rows: int
    centres: tuple[tuple[float, ...], ...]
    recipe: em.Recipe
    shown: tuple[int, ...] = ()

    name = "mixture"
    in_memory = True
    data_folder = None

    @property
    def settings(self) -> Mapping[str, Any]:
        fit = {"chains": self.chains, **vars(self.recipe)}
        return {"fit": fit, "sample": {"rows": self.rows}, "measure": {"shown": self.shown, "format": FORMAT}}

    def digests(self) -> Mapping[str, str]:
        truth = identity("mixture", {"centres": self.centres})
        return {"training": truth, "evaluation": truth}

    def base(self) -> None:
        return None

    def truth(self) -> Mixture:
        """The mixture that the real data is drawn from, as a batch of one chain."""
        components, dimensions = len(self.centres), len(self.centres[0])
        covariances = np.repeat(np.eye(dimensions)[None, None], components, axis=1)
        return Mixture(np.full((1, components), 1 / components), np.array([self.centres]), covariances)

    def compose(self, regime: Regime, pool: Pool[Arrays], out: Arrays, step: Step) -> dict[str, float]:
        """`rows` (chains, n, d) that every chain is trained on next; `real` or `pool` where later ones draw on it."""
        random = np.random.default_rng(step.random)
        if not pool.sampled:
            out["rows"] = draw(self.truth().repeated(self.chains), self.rows, random)
            if regime.real_fraction:
                out["real"] = out["rows"]
            elif regime.name != "replace":
                out["pool"], out["used"] = out["rows"].transpose(0, 2, 1).copy(), np.array(self.rows)
            return {"data/rows": self.rows}
        assert pool.trained is not None
        newest = pool.sampled[-1]["rows"]
        if regime.name != "replace":
            used = int(pool.trained["used"])
            out["pool"] = appended(pool.trained["pool"], newest.transpose(0, 2, 1), used)
            out["used"] = np.array(used + self.rows)
            everything = out["pool"][..., : used + self.rows].transpose(0, 2, 1)
            if regime.name == "accumulate":
                out["rows"] = everything
            else:
                out["rows"] = _picked(everything, self.rows, random)
        elif regime.real_fraction:
            out["real"] = pool.trained["real"]
            kept = round(regime.real_fraction * self.rows)
            real, synthetic = _picked(out["real"], kept, random), _picked(newest, self.rows - kept, random)
            out["rows"] = np.concatenate([real, synthetic], axis=1)
        else:
            out["rows"] = newest
        return {"data/rows": out["rows"].shape[1]}

    def fit(
        self, composed: Arrays, pool: Pool[Arrays], start: Arrays | None, out: Arrays, step: Step
    ) -> dict[str, float]:
        """Every chain's mixture, by EM from scratch as the published notebook does."""
        fitted, steps = em.fit(composed["rows"], self.recipe, np.random.default_rng(step.random))
        out |= fitted.arrays()
        return {"em/steps": float(steps.mean()), "em/unconverged": float((steps == self.recipe.max_iter).mean())}

    def sample(self, fitted: Arrays, origin: Origin[Arrays], out: Arrays, step: Step) -> dict[str, float]:
        """`rows` draws from every chain's mixture."""
        out["rows"] = draw(Mixture.of(fitted), self.rows, np.random.default_rng(step.random))
        return {"synthetic/rows": self.rows}

    def measure(
        self, fitted: Arrays, sampled: Arrays, origin: Origin[Arrays], out: Arrays, step: Step
    ) -> dict[str, float]:
        """Distance of every chain's model to the truth, as mean and quantiles over chains (figure 7 and the L2 figure).

        `squared_l2` the integral of (p - q)^2; `deviation` the geometric mean of the whole mixture's principal
        deviations; `tail` the share of the samples that lie further from the nearest true centre than 1 % of a unit Gaussian's
        draws would; `apart`, with two components or more, the distance of the two nearest means in units of the components'
        root mean square deviation.
        """
        model = Mixture.of(fitted)
        dimensions = model.means.shape[-1]
        _, covariance = moments(model)
        tail = tail_share(sampled["rows"], np.array(self.centres))
        numbers = {
            **spread("squared_l2", squared_l2(model, self.truth().repeated(self.chains))),
            **spread("deviation", np.linalg.det(covariance) ** (1 / (2 * dimensions))),
            "tail/mean": float(tail.mean()),
            "tail/median": float(np.median(tail)),
        }
        if model.means.shape[1] > 1:
            numbers |= spread("apart", _apart(model))
        return numbers


def _picked(rows: np.ndarray, size: int, random: np.random.Generator) -> np.ndarray:
    """`size` different rows of each chain."""
    chosen = distinct(rows.shape[1], size, len(rows), random)
    return np.take_along_axis(rows, chosen[..., None], axis=1)


def tail_share(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Share of each chain's rows (chains, n, d) in the tail of unit Gaussians at `centres` (K, d); (chains,)."""
    nearest = np.min([((rows - centre) ** 2).sum(axis=-1) for centre in centres], axis=0)
    return (nearest > chdtri(rows.shape[-1], TAIL)).mean(axis=1)


def tail_of_truth(centres: np.ndarray) -> float:
    """`tail_share` of endless draws of unit Gaussians at `centres` (K, d), each as often: TAIL of a single one.

    What lies far out from its own centre may lie near another. By TAIL_DRAWS draws a centre out of
    its own tail, their radii evenly spread over it; to 0.3 % of the result.
    """
    random, dimensions = np.random.default_rng(0), centres.shape[1]
    radii = np.sqrt(chdtri(dimensions, TAIL * (np.arange(TAIL_DRAWS) + 0.5) / TAIL_DRAWS))
    directions = random.standard_normal((TAIL_DRAWS, dimensions))
    drawn = directions * (radii / np.linalg.norm(directions, axis=1))[:, None]
    return TAIL * float(np.mean([tail_share((centre + drawn)[None], centres)[0] for centre in centres]))


def _apart(model: Mixture) -> np.ndarray:
    gaps = np.linalg.norm(model.means[:, :, None] - model.means[:, None], axis=-1)
    gaps[:, range(gaps.shape[1]), range(gaps.shape[1])] = np.inf
    spread_within = np.einsum("ck,ckdd->c", model.weights, model.covariances) / model.means.shape[-1]
    return gaps.min(axis=(1, 2)) / np.sqrt(spread_within)
