"""Settings of a page about studies that are in the tracking store."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from components import config
from components.config.errors import BadInput
from components.config.settings import Section


class ReportSettings(Section):
    """`mlflow run . -e report`: one page about any studies and sweeps."""

    studies: str = Field("", description="run ids or names of studies and sweeps, with commas between them")
    output: str = Field("report.html", description="the file that is written")


def load(arguments: Sequence[str]) -> ReportSettings:
    """Settings out of command-line arguments; texts as they are, for a run's id may read as a number.

    Raises:
        BadInput: one line for every fault.
    """
    (settings,) = config.validated([(ReportSettings, config.pairs(arguments))])
    assert isinstance(settings, ReportSettings)
    output = Path(settings.output)
    if output.is_dir():
        raise BadInput("output", settings.output, "this is a folder; name a file, such as report.html")
    if not output.parent.is_dir():
        raise BadInput("output", settings.output, "there is no such folder; make it, or name another file")
    return settings
