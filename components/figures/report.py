"""report.html of a study: what was run, the closing table, the figures and the samples, in one self-contained page."""

import base64
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from components.config import dotted
from components.figures.samples import Sample, visible
from components.figures.style import short
from components.figures.table import verdicts_table

PROMPTS = 2


def write_report(
    path: Path,
    title: str,
    settings: Mapping[str, Any],
    table: pd.DataFrame,
    figures: Sequence[Path],
    captions: Mapping[str, str],
    samples: Sequence[Sample] = (),
    sentences: Sequence[str] = (),
    note: str = "mean ± standard deviation over seeds; seconds of all seeds together",
    scorecard: pd.DataFrame | None = None,
    profile: pd.DataFrame | None = None,
) -> Path:
    """Write the page to `path` and return it.

    `settings` may nest (they are shown under dotted names, empty ones left out). `table` is the closing table as
    text (`readable`). `figures` are the files drawn, `captions` the
    words to them by name: pictures are embedded, interactive pages
    linked as `figures/<name>.html`. Of `samples`, the first two prompts are shown, generations side by side. `sentences`
    come before the table, `note` after it. `scorecard` (of `components.scorecard`) comes first of all.
    """
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.get_template("report.html.j2").render(
        title=title,
        settings=list(_shown(settings)),
        columns=list(table.columns),
        rows=table.to_numpy().tolist(),
        grouped=not table.iloc[:, 0].is_unique,
        figures=[_figure(figure, figures, captions) for figure in figures if figure.suffix == ".png"],
        prompts=_by_prompt(samples),
        sentences=list(sentences),
        verdicts=[] if scorecard is None else _verdicts(scorecard),
        note=note,
    )
    path.write_text(page, encoding="utf-8")
    return path


def _verdicts(card: pd.DataFrame) -> list[dict[Hashable, Any]]:
    shown = verdicts_table(card).rename(columns={"difference (95 % interval)": "difference"})
    return shown.assign(definition=card["definition"], seeds=card["seeds"], agree=card["agree"]).to_dict("records")


def _shown(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in dotted(settings):
        if value is not None and value != {}:
            yield name, ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _figure(picture: Path, figures: Sequence[Path], captions: Mapping[str, str]) -> dict[str, str]:
    pages = {figure.stem for figure in figures if figure.suffix == ".html"}
    return {
        "source": "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode("ascii"),
        "caption": captions[picture.stem],
        "link": f"figures/{picture.stem}.html" if picture.stem in pages else "",
    }


def _by_prompt(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """The first prompts; for each, a row a chain and in it a card a generation."""
    prompts = list(dict.fromkeys(sample.prompt for sample in samples))[:PROMPTS]
    shown = []
    for prompt in prompts:
        chains: dict[tuple[str, int], list[Sample]] = {}
        for sample in samples:
            if sample.prompt == prompt:
                chains.setdefault((sample.condition, sample.seed), []).append(sample)
        rows = [
            {"name": f"{condition}, seed {seed}", "cards": [_card(sample) for sample in sorted(row, key=_generation)]}
            for (condition, seed), row in chains.items()
        ]
        shown.append({"text": visible(prompt), "chains": rows})
    return shown


def _generation(sample: Sample) -> int:
    return sample.generation


def _card(sample: Sample) -> dict[str, str]:
    perplexity = short(sample.perplexity)
    return {"generation": str(sample.generation), "perplexity": perplexity, "text": visible(sample.continuation)}
