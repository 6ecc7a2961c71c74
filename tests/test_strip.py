"""The strip of texts: one prompt chosen by a rule, repeats folded so that nothing of the text is lost, blanks counted."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from components.figures.samples import Sample
from components.figures.strip import draw, folded, said, save, strip_of


def sample(condition: str, seed: int, generation: int, prompt: str, text: str = "a text") -> Sample:
    return Sample(condition, seed, generation, prompt, text, 10.0)


def study(prompts: tuple[str, ...], generations: int = 4, seeds: int = 2) -> list[Sample]:
    return [
        sample(condition, seed, generation, prompt, f"{prompt} {generation}")
        for condition in ("none", "some")
        for seed in range(seeds)
        for prompt in prompts
        for generation in range(generations)
    ]


@given(words=some.lists(some.sampled_from(["is", "used", "to", "be."]), max_size=30))
def test_folded_pieces_repeated_are_the_words_of_the_text(words: list[str]) -> None:
    repeated = [word for text, times in folded(" ".join(words)) for word in text.split() * times]
    assert repeated == words


def test_a_phrase_in_a_row_is_folded_and_two_single_words_are_not() -> None:
    assert folded("It is. " + "This is not be used. " * 8 + "So so.") == [
        ("It is.", 1),
        ("This is not be used.", 8),
        ("So so.", 1),
    ]
    assert folded("very very good") == [("very very good", 1)]
    assert said(folded("no no no more")) == "[no] × 3 more"
    assert folded("one two three four one two three four") == [("one two three four", 2)]


def test_white_space_is_seen() -> None:
    assert folded("end" + " " * 40) == [("end [40\u00a0blanks]", 1)]
    assert folded("a\nb") == [("a ↵ b", 1)]
    assert folded("") == []


def test_the_prompt_with_most_letters_is_taken_of_those_that_every_generation_continued() -> None:
    samples = study(("x = [1, 2, 3]", "words that can be read", "letters"))
    without = [one for one in samples if not (one.prompt == "letters" and one.generation == 3)]
    strip = strip_of(without)
    assert strip is not None
    assert strip.prompt == [("words that can be read", 1)]
    assert strip.columns == ["real text", "generation 0", "generation 1", "generation 3"]
    assert [name for name, _ in strip.rows] == ["none", "some"]
    assert strip.rows[0][1][2] == [("words that can be read 3", 1)]


def test_a_chain_that_stopped_early_sets_the_last_generation_and_separators_are_left_out() -> None:
    samples = [one for one in study(("</s>a prompt",)) if one.condition == "none" or one.generation < 3]
    strip = strip_of(samples)
    assert strip is not None
    assert strip.columns[-1] == "generation 2"
    assert "</s>" not in said(strip.prompt) + said(strip.rows[0][1][0])


@pytest.mark.parametrize("samples", [[], study(("a prompt",), generations=1)])
def test_without_a_later_generation_there_is_no_strip(samples: list[Sample], tmp_path: Path) -> None:
    assert strip_of(samples) is None
    assert save(samples, tmp_path / "figures") == []


def test_the_picture_holds_every_text_and_no_mathematics_is_read_in_it(tmp_path: Path) -> None:
    samples = study(("costs $5_000 or \\frac{",))
    strip = strip_of(samples)
    assert strip is not None
    written = " ".join(text.get_text() for text in draw(strip).texts)
    for expected in ("real text", "generation 3", "none", "some", "costs $5_000"):
        assert expected in written
    assert [file.name for file in save(samples, tmp_path)] == ["texts.png"]
