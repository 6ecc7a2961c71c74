"""Text that models wrote, and names that users gave, are shown as they are: none of it is read as HTML, Markdown or plotly's markup."""

import html
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from markdown_it import MarkdownIt

from components import corpus
from components.config.settings import CorpusSettings
from components.families.mixture.mixture import Mixture
from components.figures import (
    diversity,
    figure10_test_perplexity,
    figure11_perplexity_histograms,
    figure15_perplexity_3d,
    mixture,
    style,
    vae,
)
from components.figures.curves import Curve, Panel, draw_curves
from components.figures.language import CAPTIONS, save_all
from components.figures.samples import samples_markdown
from components.recursion.loop import make_chain, run_chain
from components.regimes import Regime
from components.report import Contents, write_page
from components.store import Store
from components.tracking.studies import as_text
from pipelines.recursion_run import samples_page
from tests.families import BLOCKS, LENGTH, language
from tests.pages import hostile_study
from tests.test_figures import study

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</textarea></title></style></pre><svg onload=alert(1)>",
    '<a href="javascript:alert(1)">here</a> <a href="https://example.org">there</a>',
    '<span style="font-size:40px">big</span> <b>bold</b> &amp; <br> %{x} {{ 7*7 }}',
    "![seen](https://example.org/seen.png) [here](javascript:alert(1)) <https://example.org>",
    "```\n# a heading\n~~~\n<!-- a comment\n````\n| a | table |\n|---|---|",
]
HARMLESS = [f"condition {number}" for number in range(len(HOSTILE))]


class Page(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_the_parser_sees_what_is_not_escaped():
    assert Page(HOSTILE[0]).all("script")
    assert Page(f'<p title="{HOSTILE[1]}">').all("img") == [{"src": "x", "onerror": "alert(1)"}]


# --- report.html ---


@pytest.fixture(scope="module")
def reports(whole_study: Contents, tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, Page]:
    """The page of a study with harmless text everywhere, and of one with these."""
    folder = tmp_path_factory.mktemp("reports")
    found = []
    for kind, texts in (("harmless", HARMLESS), ("hostile", HOSTILE)):
        study = hostile_study(whole_study, texts)
        found.append(Page(write_page(folder / f"{kind}.html", [study, study]).read_text("utf-8")))
    return found[0], found[1]


def test_nothing_on_the_report_is_read_as_html(reports: tuple[Page, Page]):
    harmless, page = reports
    assert [(tag, list(attributes)) for tag, attributes in page.elements] == [
        (tag, list(attributes)) for tag, attributes in harmless.elements
    ]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert all(one in page.text for one in HOSTILE)


def test_the_links_of_the_report_lead_into_mlflow_or_to_its_own_sections(reports: tuple[Page, Page]):
    for page in reports:
        links = {str(link["href"]) for link in page.all("a")}
        assert {link.partition("#")[0] for link in links} == {"", "http://127.0.0.1:5000/"}


def test_no_script_but_the_report_s_own_may_run(reports: tuple[Page, Page]):
    for page in reports:
        (policy,) = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
        rules = dict(part.strip().split(" ", 1) for part in str(policy).split(";"))
        assert rules["default-src"] == "'none'"
        assert all(source.startswith("'sha256-") for source in rules["script-src"].split())
        assert len(rules["script-src"].split()) == 2  # the page's and plotly's


# --- the pages of figures ---


def texts(value: Any) -> Iterator[str]:
    """All text in a plotly figure."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from texts(part)
    elif isinstance(value, list | tuple | np.ndarray):
        for part in value:
            yield from texts(part)


def interpreted(figure: go.Figure) -> list[str]:
    """What plotly reads in a figure's text: markup, and places for numbers."""
    return [mark for text in texts(figure.to_plotly_json()) for mark in re.findall(r"<[^>]*>?|%\{[^}]*\}?", text)]


def language_pages(names: list[str]) -> list[go.Figure]:
    metrics, scores = study(names, 2, 3, rows=40)
    drawn = [figure10_test_perplexity.draw(metrics), diversity.draw(metrics)]
    return [
        page for _, page in [*drawn, figure11_perplexity_histograms.draw(scores), figure15_perplexity_3d.draw(scores)]
    ]


def small_pages(names: list[str]) -> list[go.Figure]:
    x = np.arange(1, 5)
    curves = [Curve(name, x, x * 1.0, style.INK, x * 0.5, x * 2.0) for name in names]
    strips = {name: [("real", np.zeros((4, 8))), ("generation 0", np.zeros((4, 8)))] for name in names}
    one = Mixture(np.ones((1, 1)), np.zeros((1, 1, 2)), np.eye(2)[None, None])
    return [
        draw_curves("A title", "a note", "x", [Panel(name, curves, name) for name in names])[1],
        vae._images_page(strips, "A title", "a note"),
        mixture._snapshots_page([(name, one, {0: one}) for name in names], [0]),
    ]


@pytest.mark.parametrize("pages_of", [language_pages, small_pages])
def test_a_condition_s_name_is_text_to_plotly_and_shown_as_it_is(pages_of: Callable[[list[str]], list[go.Figure]]):
    for hostile, harmless in zip(pages_of(HOSTILE), pages_of(HARMLESS), strict=True):
        assert interpreted(hostile) == interpreted(harmless)
        shown = [html.unescape(text) for text in texts(hostile.to_plotly_json())]
        assert all(any(name in text for text in shown) for name in HOSTILE)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """The files of a study with harmless names and of one with these."""
    folder = tmp_path_factory.mktemp("pages")
    found = {}
    for kind, names in {"harmless": HARMLESS[:2], "hostile": ["".join(HOSTILE[:3]), HOSTILE[3]]}.items():
        found[kind] = [path for path in save_all(*study(names, 1, 2, rows=20), folder / kind) if path.suffix == ".html"]
    return found


def test_a_page_has_no_script_beyond_its_own(pages: dict[str, list[Path]]):
    assert (
        len(pages["hostile"]) == len(CAPTIONS) - 2
    )  # the strip of texts is a picture only, and there are too few conditions for theirs
    for harmless, hostile in zip(pages["harmless"], pages["hostile"], strict=True):
        elements = [Page(path.read_text("utf-8")).elements for path in (harmless, hostile)]
        assert elements[0] == elements[1]
        assert len([tag for tag, _ in elements[1] if tag == "script"]) == 3  # plotly's settings, plotly, the figure
        assert not [attributes["src"] for _, attributes in elements[1] if "src" in attributes]


def test_a_page_s_scripts_reach_nowhere(pages: dict[str, list[Path]]):
    for path in pages["hostile"]:
        (policy,) = [meta["content"] for meta in Page(path.read_text("utf-8")).all("meta") if "http-equiv" in meta]
        allowed = dict(part.strip().split(" ", 1) for part in str(policy).split(";"))
        assert allowed.pop("default-src") == "'none'"
        assert allowed == {"script-src": "'unsafe-inline'", "style-src": "'unsafe-inline'", "img-src": "data: blob:"}


# --- samples.md, and notes in MLflow, which its viewer shows as Markdown ---


def tokens(markdown: str) -> list[tuple[str, str]]:
    found = MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown)
    return [(one.type, one.content) for token in found for one in [token, *(token.children or [])]]


INTERPRETED = {"html_block", "html_inline", "image", "link_open", "table_open", "code_inline", "blockquote_open"}


def test_hostile_markdown_is_interpreted_where_nobody_escapes_it():
    assert len({kind for kind, _ in tokens("\n\n".join(HOSTILE[:-1])) if kind in INTERPRETED}) >= 4


def check_samples(markdown: str, prompts: int) -> list[str]:
    """The fenced texts; nothing else but our own words is in there."""
    found = tokens(markdown)
    assert not INTERPRETED & {kind for kind, _ in found}
    assert [kind for kind, _ in found].count("heading_open") == 1 + prompts
    return [content for kind, content in found if kind == "fence"]


def test_samples_are_read_as_text_by_whoever_shows_markdown():
    everything = [*HOSTILE, "\n".join(HOSTILE), "`" * 80, "~~~~\n" * 3, "\u2028```\x85```\x0b# no heading"]
    fenced = check_samples(samples_markdown(everything, everything[::-1], 3, [1.0] * len(everything)), len(everything))
    assert len(fenced) == 2 * len(everything)
    for name in HOSTILE:
        assert any(name in text for text in fenced)


def test_what_a_model_wrote_after_hostile_text_is_shown_as_text(tmp_path: Path):
    """From the corpus to samples.md."""
    (tmp_path / "of cpython").mkdir()
    (tmp_path / "hostile").mkdir()
    (tmp_path / "hostile" / "blocks").mkdir()
    for split in ("train", "valid", "test"):
        (tmp_path / "hostile" / f"{split}.txt").write_text("\n".join(HOSTILE * 60), "utf-8")
    settings = CorpusSettings(
        path=str(tmp_path / "hostile"), block_size=LENGTH, train_blocks=BLOCKS, heldout_blocks=40, vocabulary_size=300
    )
    corpus.prepare(settings, "train", tmp_path / "hostile" / "blocks")
    family = replace(language(tmp_path / "of cpython"), corpus_folder=tmp_path / "hostile" / "blocks")
    store = Store.open(str(tmp_path / "store"))
    chain = make_chain(family, "a condition", Regime("replace"), "scratch", 0)
    for generation in run_chain(chain, family, store, 1):
        page = samples_page(generation, family)["samples.md"]
        fenced = check_samples(str(page), 8)
        assert any(mark in text for text in fenced for mark in ("<", "![", "```"))


def test_an_experiment_s_name_is_text_in_the_note_that_links_to_it():
    for name in HOSTILE[:-1]:
        found = tokens(f"The study: [{as_text(name)}](#/experiments/1)")
        assert [kind for kind, _ in found if kind in INTERPRETED] == ["link_open"]
        assert "".join(content for kind, content in found if kind.startswith("text")) == f"The study: {name}"
