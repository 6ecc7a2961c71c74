"""Machines that Ray's autoscaler brings: Ray's own provider for tests, whose machines may declare their memory."""

from typing import Any

from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider


class Provider(FakeMultiNodeProvider):
    """Ray's provider passes a declared memory on as a custom resource, which a node refuses.

    This one leaves it out, so that each node detects its own.
    """

    def _create_node_with_resources_and_labels(
        self, node_config: Any, tags: Any, count: int, resources: dict[str, float], labels: Any
    ) -> None:
        own = {name: value for name, value in resources.items() if name != "memory"}
        super()._create_node_with_resources_and_labels(node_config, tags, count, own, labels)
