"""A family's error on real data: what a generation is worth, in one number, the less the better."""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Risk:
    """The metric that measures it, and its name. `in_nats`: it is a log already, so what is lost is its difference."""

    metric: str
    name: str
    in_nats: bool = False

    def lost(self, before: float, after: float) -> float:
        """How much worse an error is than an earlier one, as a log; infinite where it came from nothing."""
        if self.in_nats:
            return after - before
        return math.log(after / before) if before > 0 and after > 0 else math.inf


RISKS: Mapping[str, Risk] = {
    "language": Risk("test/perplexity", "test perplexity"),
    "vae": Risk("test/negative_elbo", "negative ELBO of test images", in_nats=True),
    "gaussian": Risk("wasserstein2_squared/mean", "squared Wasserstein-2 distance"),
    "discrete": Risk("total_variation/mean", "total variation"),
    "mixture": Risk("squared_l2/median", "squared L2 distance"),
}
"""By family."""
