"""docs/statistics.md shows what the code gives, and is found from where verdicts are shown."""

import contextlib
import io
import re

import yaml

from components.scorecard.card import NOT_ASKED
from components.scorecard.verdict import Verdict
from tests.documentation import PROJECT, blocks

PAGE = PROJECT / "docs" / "statistics.md"
NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?")


def example() -> tuple[str, str]:
    code, output = (block for block in blocks(PAGE) if block.language in ("python", "text"))
    return code.text, output.text


def test_the_example_prints_what_the_page_shows():
    code, output = example()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    assert printed.getvalue() == output


def test_the_numbers_that_the_example_is_told_with_are_those_of_its_code_and_its_output():
    told = PAGE.read_text("utf-8").split("## One example\n")[1].split("\n## ")[0]
    prose = re.sub(r"```.*?```", "", told, flags=re.DOTALL)
    shown = {float(number) for part in example() for number in NUMBER.findall(part)}
    told_numbers = {float(number) for number in NUMBER.findall(prose)}
    assert {1.099, 0.642, 0.00047, 0.046} <= told_numbers
    known = shown | {
        10,
        99,
        400,
        0.025,
    }  # 10 %, 99 %, the 400 blocks that fix the quantile to 0.005, the level of a one-sided test
    assert told_numbers <= known, told_numbers - known


def test_every_verdict_is_explained():
    page = PAGE.read_text("utf-8")
    for verdict in [*Verdict, NOT_ASKED]:
        assert f"| `{verdict}` |" in page


def test_the_page_is_in_the_sites_navigation_and_linked_from_the_readme_and_the_report():
    navigation = yaml.safe_load((PROJECT / "mkdocs.yml").read_text("utf-8").replace("!!python", "python"))["nav"]
    assert "statistics.md" in str(navigation)
    assert "docs/statistics.md" in (PROJECT / "README.md").read_text("utf-8")
    template = PROJECT / "components" / "report" / "templates" / "scorecard.html.j2"
    assert "docs/statistics.md" in template.read_text("utf-8")


def test_the_page_is_two_pages_of_short_sentences():
    lines = PAGE.read_text("utf-8").splitlines()
    assert len(lines) <= 95
    prose = re.sub(r"```.*?```", "", "\n".join(lines), flags=re.DOTALL)
    for line in prose.splitlines():
        for sentence in re.split(r"(?<=[.?!:;])\s", line):
            assert len(sentence.split()) <= 30, sentence
