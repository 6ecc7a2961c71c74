"""A family's error on real data: what a generation is worth, in one number, the less the better.

What is reported is the error on the test split. A sweep must not choose its trials by that: the best of many would look
better than it is. It chooses by the same error on the validation split, which is neither trained on nor reported. Where
the distribution that a family is fitted to is known, the error is exact, there are no splits, and both are one number.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Risk:
    """The metric that is reported, and its name; `plain`: the same for a sentence about what happened.

    `validation`: the metric of the same error on the validation split; None where the risk is exact. `in_nats`: the error
    is a log already, so what is lost is a difference.
    """

    metric: str
    name: str
    plain: str
    validation: str | None = None
    in_nats: bool = False

    @property
    def steering(self) -> str:
        """The metric that a sweep chooses by."""
        return self.validation or self.metric

    def lost(self, before: float, after: float) -> float:
        """How much worse an error is than an earlier one, as a log.

        Infinite where the earlier error alone is 0, or where one of them is infinite: the model
        diverged. nan where one of them is.
        """
        if math.isnan(before) or math.isnan(after):
            return math.nan
        if math.inf in (before, after):
            return math.inf
        if self.in_nats:
            return after - before
        if before == after:
            return 0.0
        return math.log(after / before) if before > 0 and after > 0 else math.inf


RISKS: Mapping[str, Risk] = {
    "language": Risk("test/perplexity", "test perplexity", "perplexity on real text", "validation/perplexity"),
    "vae": Risk(
        "test/negative_elbo",
        "negative ELBO of test images",
        "the negative ELBO of real images",
        "validation/negative_elbo",
        in_nats=True,
    ),
    "gaussian": Risk(
        "wasserstein2_squared/mean",
        "squared Wasserstein-2 distance",
        "the squared Wasserstein-2 distance to the truth",
    ),
    "discrete": Risk("total_variation/mean", "total variation", "the total variation to the truth"),
    "mixture": Risk("squared_l2/median", "squared L2 distance", "the squared L2 distance to the truth"),
}
"""By family."""
