"""report.html: what it says is what the study's numbers say, it stands alone, and only its own scripts can run."""

import base64
import gzip
import hashlib
import itertools
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import config
from components.config.settings import RecursionSettings
from components.config.small_families import GaussianSettings
from components.figures.samples import samples_markdown, visible
from components.regimes import Regime, compose, expected_weights
from components.report import Contents, write_page, write_report
from components.report.artifacts import contents_of
from components.report.cost import cost
from components.report.figures import drawn_by
from components.report.lineage import lineages
from components.report.machine import energy
from components.report.not_run import not_run, not_run_of_sweep
from components.report.page import TEMPLATES
from components.report.samples import by_prompt, changed
from components.report.settings import settings_of
from components.scorecard import NOT_ASKED
from tests import pages
from tests.pages import CONDITIONS, GENERATIONS, RUN, SEEDS


class Parsed(HTMLParser):
    """A page's elements in order, the text of each script, and all other text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.in_script = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")
            self.in_script = True

    def handle_endtag(self, tag: str) -> None:
        self.in_script = self.in_script and tag != "script"

    def handle_data(self, data: str) -> None:
        if self.in_script:
            self.scripts[-1] += data
        else:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def study(whole_study: Contents) -> Contents:
    return whole_study


@pytest.fixture(scope="module")
def page(study: Contents, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_page(tmp_path_factory.mktemp("page") / "report.html", [study]).read_text("utf-8")


@pytest.fixture(scope="module")
def parsed(page: str) -> Parsed:
    return Parsed(page)


# --- one file ---


def test_the_page_fetches_nothing(parsed: Parsed):
    fetched = [
        value
        for tag, attributes in parsed.elements
        for name, value in attributes.items()
        if name in ("src", "srcset", "data", "action", "poster") or (name == "href" and tag in ("link", "use", "image"))
    ]
    assert len(fetched) == 4
    assert all(str(value).startswith("data:image/png;base64,") for value in fetched)
    assert "@import" not in (style := (TEMPLATES / "style.css").read_text())
    assert "url(" not in style


def test_it_holds_plotly_once_for_all_figures_and_the_numbers_that_each_page_of_a_figure_draws(
    study: Contents, parsed: Parsed
):
    packed = [
        gzip.decompress(base64.b64decode(text))
        for attributes, text in zip(parsed.all("script"), parsed.scripts, strict=True)
        if attributes.get("type") == "application/gzip"
    ]
    assert len(packed) == 5
    assert packed[-1].startswith(b"/**\n* plotly.js v")
    pages_of = [path for path in study.figures if path.suffix == ".html"]
    for numbers, path in zip(packed, pages_of, strict=False):
        data, layout = json.loads(numbers)
        assert data
        assert [data, layout] == list(drawn_by(path.read_text("utf-8")) or ())


def test_what_a_figure_s_page_draws_is_read_off_it_whatever_its_names_are(study: Contents, tmp_path: Path):
    import plotly.graph_objects as go

    name = 'Plotly.newPlot( "x", [1], {"a": 1}) </script> %{x}'
    figure = go.Figure(go.Scatter(x=[1, 2], y=[3, float("nan")], name=name), {"title": {"text": name}})
    data, layout = drawn_by(figure.to_html(include_plotlyjs=True, div_id="y")) or ([], {})
    assert [one["name"] for one in data] == [name]
    assert layout["title"]["text"] == name
    assert drawn_by("<p>no figure</p>") is None


def test_the_policy_names_the_page_s_script_and_plotly_by_their_digests_and_nothing_else(parsed: Parsed):
    (policy,) = [meta["content"] for meta in parsed.all("meta") if "http-equiv" in meta]
    rules = dict(part.strip().split(" ", 1) for part in str(policy).split(";"))
    running = [
        text
        for attributes, text in zip(parsed.all("script"), parsed.scripts, strict=True)
        if attributes.get("type") is None
    ]
    assert len(running) == 1
    (packed,) = [
        text
        for attributes, text in zip(parsed.all("script"), parsed.scripts, strict=True)
        if attributes.get("id") == "plotly"
    ]
    allowed = {
        "'sha256-" + base64.b64encode(hashlib.sha256(text).digest()).decode() + "'"
        for text in (running[0].encode(), gzip.decompress(base64.b64decode(packed)))
    }
    assert set(rules.pop("script-src").split()) == allowed
    assert rules == {
        "default-src": "'none'", "style-src": "'unsafe-inline'", "img-src": "data: blob:", "base-uri": "'none'", "form-action": "'none'",
    }  # fmt: skip


def test_a_page_without_interactive_figures_has_no_plotly(study: Contents, tmp_path: Path):
    pictures = [path for path in study.figures if path.suffix == ".png"]
    text = write_page(tmp_path / "report.html", [replace(study, figures=pictures)]).read_text("utf-8")
    assert len(Parsed(text).all("img")) == 4
    assert "application/gzip" not in re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)


def test_the_same_study_gives_the_same_page(study: Contents, page: str, tmp_path: Path):
    assert write_page(tmp_path / "again.html", [study]).read_text("utf-8") == page


# --- for everybody ---


def test_headings_are_in_order_and_landmarks_and_alternatives_are_there(
    study: Contents, parsed: Parsed, tmp_path: Path
):
    several = Parsed(write_page(tmp_path / "several.html", [study, study]).read_text("utf-8"))
    for one in (parsed, several):
        levels = [int(tag[1]) for tag, _ in one.elements if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
        tags = [tag for tag, _ in one.elements]
        assert tags.count("main") == tags.count("header") == 1
        ids = [attributes["id"] for _, attributes in one.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        pointed = [
            attributes[name]
            for _, attributes in one.elements
            for name in ("aria-labelledby", "aria-controls")
            if name in attributes
        ]
        pointed += [str(link["href"])[1:] for link in one.all("a") if str(link["href"]).startswith("#")]
        assert set(pointed) <= set(ids)
        assert all(len(str(picture["alt"])) > 50 for picture in one.all("img"))
        assert one.elements[[tag for tag, _ in one.elements].index("body") + 1] == (
            "a",
            {"class": "skip", "href": "#main"},
        )
    assert parsed.all("html")[0]["lang"] == "en"
    assert len(parsed.all("img")) == 4


def variables(scheme: str) -> dict[str, str]:
    style = (TEMPLATES / "style.css").read_text()
    light, dark = re.findall(r":root \{([^}]*)\}", style)[:2]
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", light))
    return found if scheme == "light" else found | dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", dark))


def luminance(colour: str) -> float:
    """WCAG 2.2's relative luminance."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    r, g, b = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_measure_of_contrast_is_wcag_s():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(
        4.54, abs=0.005
    )  # the palest grey that text may have on white


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it_in_both_schemes(scheme: str):
    colours = variables(scheme)
    text = ("ink", "faint", "link", "holds", "fails", "open")
    pairs = [(name, behind) for name in text for behind in ("page", "card")]
    pairs += [("new-ink", "new"), ("page", "ink"), ("ink", "pressed")]
    for one, other in pairs:
        assert contrast(colours[one], colours[other]) >= 4.5, (one, other)
    for name in ("samples", "older", "real", "focus"):  # lines, bars and the mark of what is chosen
        assert contrast(colours[name], colours["page"]) >= 3, name


# --- what it says ---


def test_every_part_of_a_study_is_on_the_page(parsed: Parsed):
    text = " ".join(parsed.text.split())
    for said in (
        "mlflow run . -e recursion --env-manager local -P preset=smoke -P generations=3 -P seeds=2 -P conditions.keep-10-percent.real_fraction=0.1",
        "2026-11-26 10:13 UTC", "f4acfe61d8b4", "2 cores of a processor, 24 GiB of memory, no GPU", "AMD EPYC (avx2)", "Python 3.11.7, torch 2.13.0",
        "Perplexity rises", "Test loss rises", "0.4 (0.3 to 0.5) nats", "A sentence.", "the cat sat on the mat no-real-data",
        "Seeds: 2 of the 5", "Energy: ",
    ):  # fmt: skip
        assert said in text, said


def test_a_study_on_more_than_one_kind_of_processor_says_so_and_what_it_means(study: Contents, tmp_path: Path):
    warning = "conditions may lie on different ones"
    assert warning not in write_page(tmp_path / "one.html", [study]).read_text("utf-8")
    mixed = replace(study, processors=["AMD EPYC (avx2)", "Intel Xeon (amx_bf16), bf16 by amx_bf16"])
    page = write_page(tmp_path / "two.html", [mixed]).read_text("utf-8")
    assert "AMD EPYC (avx2); Intel Xeon (amx_bf16), bf16 by amx_bf16" in page
    assert "2 kinds of processor" in page
    assert warning in page


def test_no_path_and_no_address_of_a_machine_is_shown(study: Contents, tmp_path: Path):
    given = [
        "--corpus.path",
        "/home/somebody/texts",
        "--cluster.address",
        "10.1.2.3:6379",
        "--store.path",
        "/data/store",
    ]
    settings = config.load(RecursionSettings, ["--preset", "smoke", *given]).model_dump(mode="json")
    shown = settings_of(settings, RUN)
    everything = " ".join([shown.command, *(value for _, value in shown.all), *(value for _, value in shown.first)])
    assert "…/texts" in everything
    page = write_page(tmp_path / "report.html", [replace(study, settings=settings)]).read_text("utf-8")
    for hidden in ("/home/somebody", "10.1.2.3", "/data/store"):
        assert hidden not in everything
        assert hidden not in page


def test_samples_are_beside_those_of_the_generation_before(study: Contents):
    prompts = by_prompt(study.samples)
    assert [prompt.text for prompt in prompts] == ["first prompt", "second prompt"]
    assert [(row.condition, row.seed) for row in prompts[0].rows] == [(c, s) for c in CONDITIONS for s in range(SEEDS)]
    cards = prompts[0].rows[0].cards
    assert [card.generation for card in cards] == list(range(GENERATIONS))
    assert [[piece for piece, is_new in card.pieces if is_new] for card in cards] == [
        [],
        ["a"],
        ["mat"],
        ["mat mat mat"],
    ]
    assert cards[0].change == ""
    assert cards[1].change == "1 of 9 words new since generation 0"
    assert [card.perplexity for card in cards] == ["20.0", "21.0", "22.0", "23.0"]


def test_prompts_of_each_seeds_own_blocks_stand_under_one_number_and_each_with_its_seed(
    study: Contents, tmp_path: Path
):
    own = [replace(sample, prompt=f"{sample.prompt} of seed {sample.seed}") for sample in study.samples]
    prompts = by_prompt(own)
    assert [(prompt.number, prompt.text, prompt.seed) for prompt in prompts] == [
        (number, f"{text} of seed {seed}", seed)
        for number, text in enumerate(("first prompt", "second prompt"), start=1)
        for seed in range(SEEDS)
    ]
    for prompt in prompts:
        assert [(row.condition, row.seed) for row in prompt.rows] == [(name, prompt.seed) for name in CONDITIONS]
    assert {prompt.seed for prompt in by_prompt(study.samples)} == {None}
    page = write_page(tmp_path / "report.html", [replace(study, samples=own)]).read_text("utf-8")
    found = re.findall(r'<div data-prompt="(\d)" data-seed="(\d)">\s*<h\d>(.*?)</h\d>', page)
    assert found == [(n, seed, f"Prompt {n}, seed {seed}") for n in ("1", "2") for seed in ("0", "1")]
    assert re.findall(r'<option value="(\d)">\d</option>', page) == ["1", "2"]


@pytest.mark.parametrize(
    ("continuation", "told"),
    [
        ("a cat  \n", ""),
        ("a cat" + " " * 40 + "\n" * 2, "then 42 white spaces"),
        (" \t" * 32, "nothing but 64 white spaces"),
    ],
)
def test_white_space_that_nobody_would_see_is_told(study: Contents, continuation: str, told: str):
    sample = replace(study.samples[0], continuation=continuation)
    ((card,),) = [row.cards for prompt in by_prompt([sample]) for row in prompt.rows]
    assert card.unseen == told
    said = ", ".join(filter(None, ["perplexity 20.0", told]))
    assert f"Continuation by generation 0, {said}:\n" in samples_markdown(["first prompt"], [continuation], 0, [20.0])


WORDS = st.lists(st.sampled_from(["a", "the", "cat", "\n", " ", "mat.", "x  y", "\t", "é.__a", "…"]), max_size=14).map(
    " ".join
)


@given(WORDS, WORDS)
def test_what_is_marked_and_what_is_not_are_together_the_text(before: str, text: str):
    pieces = changed(before, text)
    assert "".join(piece for piece, _ in pieces) == text
    kept = re.findall(r"\w+|[^\w\s]", " ".join(piece for piece, is_new in pieces if not is_new))
    words = iter(re.findall(r"\w+|[^\w\s]", before))
    assert all(word in words for word in kept)  # in the order in which the text before has them
    assert [is_new for _, is_new in changed(text, text) if is_new] == []


def test_a_sample_s_signs_are_shown_and_not_obeyed(study: Contents):
    nasty = "\x1b[31m \u202eevil"
    (prompt,) = by_prompt([replace(study.samples[0], continuation=nasty)])
    assert "".join(piece for piece, _ in prompt.rows[0].cards[0].pieces) == visible(nasty)


def test_the_lineage_says_what_each_training_set_was_made_of(study: Contents):
    assert study.runs is not None
    chains = lineages(
        study.runs.sample(frac=1, random_state=0).sort_values("generation"), study.metrics, study.settings, "language"
    )
    assert [(chain.condition, chain.seed) for chain in chains] == [(c, s) for c in CONDITIONS for s in range(SEEDS)]
    kept = chains[2].steps
    assert [step.shares for step in kept] == [(0, 0, 1), *[(pytest.approx(0.9), 0, pytest.approx(0.1))] * 3]
    assert kept[1].percentages == ["90%", "0%", "10%"]
    assert {step.rows for step in kept} == {"512"}
    assert all(step.exact for step in kept)
    assert [step.parent_model for step in kept] == ["", "version 1", "version 2", "version 3"]
    boxes = [box for box in chains[2].graph.boxes if box.kind == "model"]
    assert [box.lines[0] for box in boxes] == [f"model {index}" for index in range(GENERATIONS)]
    assert [kind for kind, _, _ in boxes[1].parts] == ["samples", "real"]
    widths = [width for _, _, width in boxes[1].parts]
    assert widths[0] / sum(widths) == pytest.approx(0.9, abs=0.01)
    kinds = [line.kind for line in chains[2].graph.lines]
    assert kinds.count("real") == GENERATIONS  # generation 0 and, kept, all later ones
    assert [line.kind for line in chains[0].graph.lines].count("real") == 1
    assert kinds.count("samples") == GENERATIONS - 1


@pytest.mark.parametrize(
    "regime", [Regime("replace", 0.3), Regime("replace"), Regime("accumulate"), Regime("subsample")]
)
def test_the_shares_that_a_regime_gives_are_those_of_what_it_composes(regime: Regime):
    import numpy as np

    for generation in range(5):
        random = np.random.default_rng(generation)
        drawn = compose(regime, [2000] * (generation + 1), random).weights(generation)
        assert drawn == pytest.approx(
            expected_weights(regime, generation), abs=0.04 if regime.name == "subsample" else 1e-9
        )


def test_generations_that_have_no_run_of_their_own_leave_a_gap_in_the_lineage():
    settings = config.load(GaussianSettings, ["--preset", "smoke"]).model_dump(mode="json")
    runs = (
        pages.lineage()
        .query("condition == 'no-real-data' and seed == 0")
        .assign(condition="accumulate-100", generation=[0, 5, 12, 13])
    )
    (chain,) = lineages(runs, None, settings, "gaussian")
    assert [step.shares for step in chain.steps][1:3] == [
        pytest.approx((1 / 6, 4 / 6, 1 / 6)),
        pytest.approx((1 / 13, 11 / 13, 1 / 13)),
    ]
    assert not any(step.exact for step in chain.steps)
    kinds = [line.kind for line in chain.graph.lines]
    assert (kinds.count("skipped"), kinds.count("samples"), kinds.count("older")) == (2, 1, 3)


def test_the_cost_adds_up_seconds_and_tokens_of_all_chains():
    columns = ["condition", "seed", "generation", "metric", "value"]
    rows = [
        (condition, seed, 0, metric, value)
        for condition, factor in (("b", 1.0), ("a", 2.0))
        for seed in (0, 1)
        for metric, value in (
            ("seconds/fit", 10 * factor),
            ("tokens_per_second/fit", 100 + 200 * seed),
            ("seconds/sample", 4.0),
        )
    ]
    found = cost(pd.DataFrame(rows, columns=columns))
    assert found is not None
    assert found.columns == [
        "condition",
        "fine-tuning (s)",
        "writing (s)",
        "tokens trained on",
        "tokens/s, fine-tuning",
    ]
    assert found.rows == [
        ["b", "20", "8", "4,000", "200"],
        ["a", "40", "8", "8,000", "200"],
        ["all", "60", "16", "12,000", "200"],
    ]
    assert found.total == "76 seconds"
    assert cost(pd.DataFrame([("a", 0, 0, "support/mean", 3.0)], columns=columns)) is None


def test_what_the_paper_has_and_the_study_has_not_is_said(study: Contents):
    assert study.metrics is not None
    stopped = study.metrics[~((study.metrics["seed"] == 1) & (study.metrics["generation"] > 1))]
    found = not_run("language", study.settings, stopped, study.scorecard)
    text = "\n".join(found.sentences)
    for said in (
        "Seeds: 2 of the 5", "Generations after 3: the paper's experiment goes to 9", "facebook/opt-125m: here it was a model of 2 layers",
        "wikitext-2-raw-v1: here it was the documentation inside networkx",
        "no-real-data as it is: no-real-data is like it, but for epochs 5 (here 1)", "A penalty makes it worse",
        "The chain no-real-data, seed 1: it ended with generation 1 of 3",
    ):  # fmt: skip
        assert said in text, said
    assert ("train.batch_size", "16", "128") in found.differences
    assert not [name for name, _, _ in found.differences if name.startswith(("store", "cluster", "conditions"))]


def test_of_the_paper_s_own_experiment_nothing_is_missing():
    settings = config.load(RecursionSettings, ["--preset", "paper"]).model_dump(mode="json")
    found = not_run("language", settings, None, None)
    assert found.sentences == []
    assert found.differences == []


def test_a_condition_of_the_paper_that_has_none_like_it_was_not_run():
    given = ["--preset", "paper", "--conditions.keep-10-percent", "null"]
    settings = config.load(RecursionSettings, given).model_dump(mode="json")
    assert not_run("language", settings, None, None).sentences == [
        "The paper's condition keep-10-percent (regime replace, real_fraction 0.1, epochs 10)."
    ]


def test_settings_of_another_version_are_not_held_against_the_paper_s(study: Contents):
    older = {
        name: value for name, value in study.settings.items() if name != "generate"
    }  # what is newer has its default
    assert not_run("language", older, None, None).sentences[0].startswith("Seeds: 2 of the 5")
    found = not_run("language", {**study.settings, "gone": 1}, study.metrics, study.scorecard)
    assert "another version" in found.sentences[0]
    assert "A penalty makes it worse" in found.sentences[-1]


def test_trials_that_did_not_come_to_their_end_are_counted():
    table = pd.DataFrame({"trial": ["0", "1", "2"], "state": ["completed", "pruned", "pruned"]})
    assert not_run_of_sweep(table).sentences == ["2 of 3 trials: stopped before the last generation, as hopeless."]


def test_why_there_is_no_energy_is_said_as_the_machine_has_it(tmp_path: Path):
    assert "not readable" in energy(tmp_path)
    (tmp_path / "intel-rapl:0" / "energy_uj").mkdir(parents=True)  # a counter that may not be read
    assert "not readable" in energy(tmp_path)
    (tmp_path / "intel-rapl:1").mkdir()
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("262143328850\n")
    assert "counts all that the machine does" in energy(tmp_path)


# --- and again ---


def save(study: Contents, folder: Path) -> Path:
    """The files that a study leaves in its run, apart from its figures."""
    write_report(
        folder / "report.html", study.title, study.settings, study.table, study.figures, study.captions, study.samples,
        study.sentences, study.finding, study.note, study.scorecard, study.profile, study.metrics, study.run, study.runs,
    )  # fmt: skip
    for name, table in {"metrics": study.metrics, "scorecard": study.scorecard, "profile": study.profile}.items():
        assert table is not None
        table.to_parquet(folder / f"{name}.parquet", index=False)
    settings = config.load(RecursionSettings, ["--preset", "smoke"])
    (folder / "config.yaml").write_text(config.to_yaml(settings.model_copy(update={"store": settings.store})))
    return folder


def test_the_page_can_be_made_again_of_what_the_study_leaves(study: Contents):
    folder = study.figures[0].parents[1]
    settings = config.load(RecursionSettings, ["--preset", "smoke"]).model_dump(mode="json")
    save(replace(study, settings=settings), folder)
    before = (folder / "report.html").read_bytes()
    again = contents_of(folder, RUN, pages.lineage())
    assert again.gaps == []
    assert write_page(folder / "again.html", [again]).read_bytes() == before


PARTS = {
    "config.yaml": "Its settings (config.yaml) are missing",
    "metrics.parquet": "Its numbers (metrics.parquet) are missing",
    "report.json": "Its report.json is missing",
    "scorecard.parquet": None,  # not every family has one
}


@pytest.mark.parametrize("missing", PARTS)
def test_a_part_that_is_missing_is_left_out_and_said(study: Contents, missing: str, tmp_path: Path):
    save(study, tmp_path)
    (tmp_path / missing).unlink()
    left = contents_of(tmp_path, RUN, pages.lineage())
    text = write_page(tmp_path / "again.html", [left]).read_text("utf-8")
    assert "Its figures are missing." in text  # they lie elsewhere
    if sentence := PARTS[missing]:
        assert sentence in text


def test_without_its_report_json_a_study_has_its_error_by_generation(study: Contents, tmp_path: Path):
    save(study, tmp_path)
    (tmp_path / "report.json").unlink()
    table = contents_of(tmp_path, RUN, pages.lineage()).table
    assert list(table.columns) == ["condition", "generation", "test perplexity"]
    assert table["test perplexity"].tolist() == study.table["test perplexity"].tolist()


@pytest.mark.parametrize(
    ("status", "words"),
    [("RUNNING", "still running"), ("KILLED", "stopped before its end"), ("FAILED", "Not all of it")],
)
def test_a_study_that_did_not_come_to_its_end_says_so(
    study: Contents, page: str, status: str, words: str, tmp_path: Path
):
    unfinished = replace(study, run=replace(RUN, status=status))
    assert words in write_page(tmp_path / "report.html", [unfinished]).read_text("utf-8")
    assert words not in page


def test_a_study_with_one_seed_has_a_page(study: Contents, tmp_path: Path):
    assert study.metrics is not None
    one = study.metrics[study.metrics["seed"] == 0]
    settings = {**study.settings, "seeds": [0]}
    only = replace(study, metrics=one, settings=settings, samples=[s for s in study.samples if s.seed == 0])
    text = Parsed(write_page(tmp_path / "report.html", [only]).read_text("utf-8")).text
    assert "Seeds: 1 of the 5" in text


def test_several_studies_are_compared_and_then_shown_each(study: Contents, tmp_path: Path):
    assert study.metrics is not None
    settings = config.load(GaussianSettings, ["--preset", "smoke"]).model_dump(mode="json")
    run = replace(RUN, family="gaussian", run_id="cd" * 16)
    other = replace(study, title="Another one", run=run, metrics=None, runs=None, settings=settings)
    page = Parsed(write_page(tmp_path / "report.html", [study, other]).read_text("utf-8"))
    (row,) = [
        line
        for line in study.table.to_dict("records")
        if line["condition"] == CONDITIONS[0] and line["generation"] == str(GENERATIONS - 1)
    ]
    assert row["test perplexity"] in page.text
    assert "1 cannot tell" in page.text or "1 holds here" in page.text
    assert f"1 {NOT_ASKED}" in page.text
    assert len([attributes for attributes in page.all("div") if "data-study" in attributes]) == 2
    assert [tab["aria-controls"] for tab in page.all("button")] == ["study-1", "study-2"]
