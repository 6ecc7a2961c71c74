"""`mlflow run . -e report`: one page about any studies and sweeps that are in the tracking store.

    run ids or names -> runs -> their files -> page

Nothing is computed anew: what a study left in its run is shown, what it did not leave is said.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from components import tracking
from components.config import report as config
from components.config.errors import BadInput
from components.recursion.records import StudyRun
from components.report import Contents, write_page
from components.report.artifacts import contents_of
from components.terminal import console
from pipelines.study import PROJECT, run_command


def report(arguments: Sequence[str]) -> None:
    """Write the page that the arguments ask for; of a single study it goes into its run, too.

    Raises:
        BadInput: a study that is not there, is none, or left nothing; a file that cannot be written.
    """
    settings = config.load(arguments)
    reading = tracking.connect_to_read(PROJECT)
    found = tracking.find_studies(reading, settings.studies)
    with TemporaryDirectory() as folder:
        read = [_contents(reading, run, Path(folder) / run.run_id) for run in found]
        if missing := [reason for _, reason in read if reason]:
            if len(missing) == len(found):
                names = ", ".join(run.run_id for run in found)
                raise BadInput("studies", names, f"{missing[0]}; nothing is left to make a page of")
            for reason in missing:
                console.print(reason)
        try:
            page = write_page(Path(settings.output), [contents for contents, _ in read])
        except OSError as error:
            raise BadInput("output", settings.output, f"cannot be written ({error.strerror})") from error
        if len(found) == 1:
            attached = Path(folder) / "report.html"
            shutil.copy(page, attached)
            tracking.attach(reading, found[0], attached)
    size = page.stat().st_size / 1e6
    console.print(f"{settings.output}: {', '.join(run.name for run in found)} ({size:.1f} MB)")


def _contents(reading: tracking.Reading, run: StudyRun, folder: Path) -> tuple[Contents, str]:
    """What a study's run holds; and why it holds nothing, where that is so."""
    folder.mkdir()
    reason, gaps = "", list[str]()
    try:
        tracking.fetch(reading, run, folder)
    except tracking.FilesUnreadable as error:
        reason = f"{run.name}: {error}"
        gaps = [
            "The files of this study's run cannot be read: they were deleted, or lie elsewhere now. What is left is its lineage."
        ]
    return contents_of(folder, run, tracking.lineage(reading, run), gaps), reason


if __name__ == "__main__":
    run_command(report, sys.argv[1:])
