"""report.html in a real browser: it draws without an error, tabs and filters work, nothing of a model's text runs, and it can be read
on any screen, in both schemes, on paper, without a mouse and without scripts."""

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from components.report import Contents, write_page
from tests import pages
from tests.browser import Page, browser, needs_chromium
from tests.pages import CONDITIONS, GENERATIONS, SEEDS

pytestmark = needs_chromium

HOSTILE = [
    "<script>window.ran = 1</script>",
    "</script><script>window.ran = 2</script>",
    "</style></title></svg><img src=x onerror='window.ran = 3'>",
    '"><a href="javascript:window.ran = 4" autofocus onfocus="window.ran = 5">here</a>',
    "javascript:window.ran = 6",
    "' onmouseover='window.ran = 7",
]
WIDTHS = (360, 768, 1280)
SHOWN = "element.checkVisibility({ visibilityProperty: true, opacityProperty: true, contentVisibilityAuto: true })"


@pytest.fixture(scope="module")
def study(whole_study: Contents) -> Contents:
    return whole_study


@pytest.fixture(scope="module")
def one(study: Contents, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_page(tmp_path_factory.mktemp("one") / "report.html", [study]).as_uri()


@pytest.fixture(scope="module")
def several(study: Contents, tmp_path_factory: pytest.TempPathFactory) -> str:
    flat = replace(study, title="Another study", figures=[path for path in study.figures if "15" not in path.name])
    return write_page(tmp_path_factory.mktemp("several") / "report.html", [study, flat]).as_uri()


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    with browser() as page:
        yield page


def look_at(tab: Page, figure: str) -> None:
    """Scroll to a figure and wait until it is drawn."""
    tab.eval(f"document.getElementById('{figure}').scrollIntoView()")
    tab.until(f"document.getElementById('{figure}').dataset.drawn !== undefined")


def shown(tab: Page, selector: str) -> list[str]:
    """Text of the elements that are to be seen."""
    return list(
        tab.eval(
            f"[...document.querySelectorAll('{selector}')].filter((element) => {SHOWN}).map((element) => element.textContent.trim())"
        )
    )


# --- figures ---


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_figure_is_drawn_when_it_comes_into_view_and_nothing_goes_wrong(tab: Page, one: str, scheme: str):
    tab.open(one, scheme=scheme, height=400)  # the first figure is further down than what is drawn ahead of time
    assert tab.eval("typeof Plotly") == "undefined"  # 4.8 MB that nobody has looked at yet
    for name in ("figure10_test_perplexity", "figure11_perplexity_histograms", "figure15_perplexity_3d", "diversity"):
        look_at(tab, name)
        assert tab.eval(f"document.getElementById('{name}').dataset.drawn") == scheme
        assert tab.eval(f"document.getElementById('{name}').querySelectorAll('.main-svg').length") > 0
    assert tab.eval("document.querySelectorAll('#figure15_perplexity_3d canvas').length") > 0
    assert tab.said == []


def test_what_is_drawn_in_three_dimensions_is_a_picture_again_out_of_view(tab: Page, one: str):
    """A browser has a few places for such drawings, and a page of many studies wants more."""
    tab.open(one)
    look_at(tab, "figure15_perplexity_3d")
    tab.eval("window.scrollTo(0, document.body.scrollHeight)")
    tab.until("document.querySelectorAll('canvas').length === 0")
    assert tab.eval("document.querySelector('#figure15_perplexity_3d .still').offsetWidth") > 100


def test_figures_stand_out_from_a_dark_page(tab: Page, one: str):
    tab.open(one, scheme="dark")
    look_at(tab, "figure10_test_perplexity")
    strokes = tab.eval(
        "[...document.querySelectorAll('#figure10_test_perplexity .scatterlayer path.js-line')].map((line) => getComputedStyle(line).stroke)"
    )
    words = tab.eval(
        "[...document.querySelectorAll('#figure10_test_perplexity text')].map((text) => getComputedStyle(text).fill)"
    )
    assert strokes
    assert words
    page = tab.eval("getComputedStyle(document.body).backgroundColor")
    for least, colours in ((3, strokes), (4.5, words)):
        for colour in set(colours):
            assert contrast(colour, page) >= least, colour


def luminance(colour: str) -> float:
    parts = [float(part) / 255 for part in re.findall(r"[\d.]+", colour)[:3]]
    r, g, b = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


# --- screens, schemes, paper ---

TOO_WIDE = """[...document.querySelectorAll('body *')].filter((element) => {
  const edges = element.getBoundingClientRect();
  if (!edges.width || edges.right <= innerWidth + 0.5) return false;
  for (let above = element.parentElement; above; above = above.parentElement)
    if (getComputedStyle(above).overflowX === 'auto') return false;
  return getComputedStyle(element).position !== 'absolute';
}).map((element) => element.tagName)"""

SPILLS = """[...document.querySelectorAll('main *, header *')].filter((element) => {
  const style = getComputedStyle(element);
  if (element.closest('svg') || style.display.startsWith('inline') || !element.innerText.trim()) return false;
  for (let above = element; above; above = above.parentElement)
    if (getComputedStyle(above).overflowX !== 'visible') return false;
  return element.clientWidth && element.scrollWidth > element.clientWidth + 1;
}).map((element) => `${element.tagName}.${element.className}: ${element.innerText.slice(0, 60)}`)"""
"""Boxes of which text runs out on the right, over what is beside them, which no edge of the page notices."""


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_does_not_scroll_sideways_and_no_text_spills_out_of_its_box(
    tab: Page, one: str, several: str, width: int
):
    for address in (one, several):
        tab.open(address, width=width)
        look_at(tab, "figure10_test_perplexity" if address == one else "study-1-figure10_test_perplexity")
        tab.eval("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert tab.eval("document.documentElement.scrollWidth") == width
        assert tab.eval(TOO_WIDE) == []
        assert tab.eval(SPILLS) == []


CONTRASTS = """(() => {
  const background = (element) => {
    for (let above = element; above; above = above.parentElement) {
      const colour = getComputedStyle(above).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
    return getComputedStyle(document.documentElement).getPropertyValue('--page');
  };
  const found = {};
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || ['SCRIPT', 'OPTION'].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    const colour = element.closest('svg') ? style.fill : style.color;
    const behind = element.closest('svg') ? getComputedStyle(element.closest('svg').querySelector('rect.samples')).fill : background(element);
    found[`${colour} on ${behind}`] = element.tagName;
  }
  return found;
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_from_what_is_behind_it(tab: Page, several: str, scheme: str):
    tab.open(several, scheme=scheme)
    pairs = tab.eval(CONTRASTS)
    assert len(pairs) > 8
    for pair, element in pairs.items():
        assert contrast(*pair.split(" on ")) >= 4.5, (element, pair)
    assert (luminance(tab.eval("getComputedStyle(document.body).backgroundColor")) < 0.05) == (scheme == "dark")


def test_on_paper_there_are_pictures_and_everything_unfolded_and_nothing_to_press(tab: Page, several: str):
    tab.open(several, scheme="dark")
    look_at(tab, "study-1-figure10_test_perplexity")
    printed = base64.b64decode(tab.call("Page.printToPDF", printBackground=True)["data"])
    assert printed.startswith(b"%PDF")
    assert len(re.findall(rb"/Type /Page\b", printed)) > 3
    tab.call("Emulation.setEmulatedMedia", media="print", features=[])
    tab.eval("dispatchEvent(new Event('beforeprint'))")
    try:
        assert tab.eval("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert shown(tab, "select, button, nav, .live") == []
        assert len(shown(tab, "[data-study]")) == 2
        assert tab.eval("[...document.querySelectorAll('img')].every((picture) => picture.offsetWidth > 100)")
        assert tab.eval("document.querySelectorAll('details:not([open])').length") == 0
    finally:
        tab.call("Emulation.setEmulatedMedia", media="", features=[])
    tab.eval("dispatchEvent(new Event('afterprint'))")
    assert len(shown(tab, "[data-study]")) == 1


# --- tabs and filters ---


def test_at_first_one_prompt_of_one_seed_and_one_chain_are_shown(tab: Page, one: str):
    tab.open(one)
    assert shown(tab, "[data-prompt] > h3") == ["Prompt 1"]
    assert shown(tab, "[data-seed] > h4") == [f"{condition}, seed 0" for condition in CONDITIONS]
    assert len(shown(tab, ".cards li")) == len(CONDITIONS) * GENERATIONS
    assert shown(tab, "[data-chain] > h3") == ["no-real-data, seed 0"]


def test_an_address_names_a_view(tab: Page, one: str, several: str):
    tab.open(one + "#prompt=2&condition=keep-10-percent&seed=1&chain=keep-10-percent%2C+seed+1")
    assert shown(tab, "[data-prompt] > h3") == ["Prompt 2"]
    assert shown(tab, "[data-seed] > h4") == ["keep-10-percent, seed 1"]
    assert shown(tab, "[data-chain] > h3") == ["keep-10-percent, seed 1"]
    assert tab.eval("[...document.querySelectorAll('select')].map((one) => one.value)") == [
        "2", "keep-10-percent", "1", "keep-10-percent, seed 1",
    ]  # fmt: skip
    tab.open(several + "#study=2&prompt=")
    assert shown(tab, "[data-study] > h2") == ["2. Another study"]
    assert shown(tab, "[data-prompt] > h4") == ["Prompt 1", "Prompt 2"]
    tab.open(several + "#study-2-scorecard")  # a section of a study that would not be shown
    assert shown(tab, "[data-study] > h2") == ["2. Another study"]
    assert abs(tab.eval("document.getElementById('study-2-scorecard').getBoundingClientRect().top")) < 60
    tab.eval("document.querySelector('#study-2 select[name=seed]').value = '1'")
    tab.eval("document.querySelector('#study-2 select[name=seed]').dispatchEvent(new Event('change'))")
    assert shown(tab, "[data-study] > h2") == ["2. Another study"]


def test_an_address_that_names_nothing_shows_what_is_shown_at_first(tab: Page, several: str):
    for fragment in ("#study=9&prompt=77&seed=%22%3E", "#nowhere", "#%", "#=", "#study"):
        tab.open(several + fragment)
        assert shown(tab, "[data-study] > h2") == ["1. Recursion: preset laptop"], fragment
        assert shown(tab, "[data-prompt] > h4") == ["Prompt 1"], fragment
        assert tab.said == [], fragment


def test_the_keyboard_alone_reaches_and_works_everything(tab: Page, several: str):
    tab.open(several)
    tab.press("Tab", 9)
    assert tab.eval("document.activeElement.className") == "skip"
    assert tab.eval("document.activeElement.getBoundingClientRect().left") >= 0
    visited = set()
    for _ in range(60):
        tab.press("Tab", 9)
        visited.add(
            tab.eval(
                "[document.activeElement.tagName, document.activeElement.name, document.activeElement.role].filter(Boolean).join(' ')"
            )
        )
        outline = tab.eval("parseFloat(getComputedStyle(document.activeElement).outlineWidth)")
        assert outline >= 2 or tab.eval("document.activeElement === document.body")
    assert {"A", "BUTTON tab", "SUMMARY", "DIV region", "SELECT prompt", "SELECT chain"} <= visited
    tab.eval("document.querySelector('[role=tab]').focus()")
    tab.press("ArrowRight", 39)
    assert shown(tab, "[data-study] > h2") == ["2. Another study"]
    assert tab.eval("document.activeElement.dataset.tab") == "2"
    assert tab.eval("location.hash") == "#study=2"
    tab.press("ArrowRight", 39)
    assert shown(tab, "[data-study] > h2") == ["1. Recursion: preset laptop"]
    tab.eval("document.querySelector('[data-study=\"1\"] select[name=seed]').focus()")
    tab.press("ArrowDown", 40)
    tab.until("location.hash.includes('seed=1')")
    assert shown(tab, "[data-seed] > h5") == [f"{condition}, seed 1" for condition in CONDITIONS]
    assert tab.said == []


def test_without_scripts_everything_is_shown_and_nothing_is_there_to_press(tab: Page, several: str):
    tab.open(several, script=False)
    assert len(shown(tab, "[data-study]")) == 2
    assert len(shown(tab, ".cards li")) == 2 * 2 * len(CONDITIONS) * SEEDS * GENERATIONS
    assert len(shown(tab, "svg.lineage")) == 2 * len(CONDITIONS) * SEEDS
    assert shown(tab, "select, button") == []
    assert tab.eval("[...document.querySelectorAll('img')].every((picture) => picture.offsetWidth > 100)")


VIEWER = """<!DOCTYPE html><body><script>
fetch("report.html").then((answer) => answer.text()).then((text) => {
  const frame = Object.assign(document.createElement("iframe"), { width: 900, height: 800 });
  frame.setAttribute("sandbox", "allow-scripts");
  frame.src = URL.createObjectURL(new Blob([text], { type: "text/html" }));
  document.body.append(frame);
});
</script></body>"""


def test_in_the_sandboxed_frame_of_mlflow_s_viewer_figures_are_drawn_and_filters_and_sections_work(
    tab: Page, study: Contents, tmp_path: Path
):
    """MLflow 3.17.2 shows a page as a blob in a frame with sandbox="allow-scripts"."""
    write_page(tmp_path / "report.html", [study, study])
    (tmp_path / "viewer.html").write_text(VIEWER)
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=str(tmp_path))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            tab.open(f"http://127.0.0.1:{server.server_port}/viewer.html")
            with tab.frame("blob:"):
                assert tab.eval("window.origin") == "null"
                assert len(shown(tab, ".embedded")) == 1
                look_at(tab, "study-1-figure10_test_perplexity")
                tab.eval("document.querySelector('[data-tab=\"2\"]').click()")
                assert shown(tab, "[data-study] > h2") == ["2. Recursion: preset laptop"]
                choose = "(select) => { select.value = '2'; select.dispatchEvent(new Event('change')); }"
                tab.eval(f"[document.querySelector('#study-2 select[name=prompt]')].forEach({choose})")
                assert shown(tab, "[data-prompt] > h4") == ["Prompt 2"]
                tab.eval("document.querySelector('a[href=\"#study-2-scorecard\"]').click()")
                assert abs(tab.eval("document.getElementById('study-2-scorecard').getBoundingClientRect().top")) < 60
                assert shown(tab, "[data-prompt] > h4") == ["Prompt 2"]
        finally:
            server.shutdown()
    assert [line for line in tab.said if "404" not in line] == []  # favicon.ico


# --- what models wrote ---


def test_text_of_models_and_of_users_is_shown_and_does_not_run(tab: Page, study: Contents, tmp_path: Path):
    address = write_page(tmp_path / "hostile.html", [pages.hostile_study(study, HOSTILE)] * 2).as_uri()
    tab.open(address)
    look_at(tab, "study-1-figure10_test_perplexity")
    for control in ("prompt", "seed", "condition", "chain"):
        tab.eval(f"document.querySelector('select[name={control}]').dispatchEvent(new Event('change'))")
    tab.eval("document.querySelectorAll('*').forEach((one) => { one.dispatchEvent(new MouseEvent('mouseover')); })")
    assert tab.eval("window.ran") is None
    text = tab.eval("document.body.textContent")
    assert all(one in text for one in HOSTILE)
    assert tab.eval("[...document.querySelectorAll('a')].filter((link) => link.protocol === 'javascript:').length") == 0
    assert tab.said == []


def test_the_page_s_policy_lets_no_other_script_run(tab: Page, one: str):
    """Also where a text were not escaped."""
    tab.open(one)
    inserted = "<img src=x onerror='window.ran = 1'><a href='javascript:window.ran = 2'>here</a>"
    tab.eval(f'document.body.insertAdjacentHTML("beforeend", "{inserted}")')
    tab.eval("document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.ran = 3' }))")
    tab.eval("document.querySelector('a[href^=javascript]').click()")
    tab.eval("fetch('https://example.org').catch(() => null)")
    tab.eval("new Promise((resolve) => setTimeout(resolve, 200))")
    assert tab.eval("window.ran") is None
    assert sum("Content Security Policy" in line for line in tab.said) >= 4
