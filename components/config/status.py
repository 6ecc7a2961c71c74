"""Settings of `mlflow run . -e status`."""

from pydantic import Field

from components.config.settings import Section, StoreSettings


class StatusSettings(Section):
    """`mlflow run . -e status`: how far the studies on a store are, wherever they run."""

    store: StoreSettings = StoreSettings()
    name: str | None = Field(None, description="a study, or the beginning of its name (if empty, all that run)")
    follow: bool = Field(False, description="look again until nothing of what is shown runs any more")
