"""The samples of the same prompts through the generations, side by side, with what changed marked."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from components.figures.notation import short
from components.figures.samples import Sample, unseen, visible

_BEGINNING = 48
_PIECE = re.compile(r"\s*(?:\w+|[^\w\s])|\s+$")  # a word or a sign, with the space before it
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Card:
    """What one generation wrote. `pieces`: its text in order, and whether each was not in the generation before; `unseen`: what of
    it is white space."""

    generation: int
    perplexity: str
    pieces: Sequence[tuple[str, bool]]
    change: str
    unseen: str


@dataclass(frozen=True)
class Row:
    """A chain's cards after one prompt."""

    condition: str
    seed: int
    cards: Sequence[Card]


@dataclass(frozen=True)
class Prompt:
    """`beginning`: how a list names it. `seed`: the only seed that has it, None where other seeds have it too."""

    number: int
    text: str
    beginning: str
    rows: Sequence[Row]
    seed: int | None = None


def by_prompt(samples: Sequence[Sample]) -> list[Prompt]:
    """Every prompt with a row per chain, in it a card per generation, in order.

    Seeds with their own training blocks have their own prompts: the first prompt of each seed is prompt 1, and so on.
    """
    numbers: dict[int, dict[str, int]] = {}
    prompts: dict[tuple[int, str], dict[tuple[str, int], list[Sample]]] = {}
    for sample in samples:
        of_seed = numbers.setdefault(sample.seed, {})
        number = of_seed.setdefault(sample.prompt, len(of_seed) + 1)
        chains = prompts.setdefault((number, sample.prompt), {})
        chains.setdefault((sample.condition, sample.seed), []).append(sample)
    return [
        Prompt(
            number,
            visible(prompt),
            _beginning(visible(prompt)),
            [Row(condition, seed, _cards(written)) for (condition, seed), written in chains.items()],
            _only_seed(chains) if len(numbers) > 1 else None,
        )
        for (number, prompt), chains in sorted(prompts.items(), key=lambda item: item[0][0])
    ]


def changed(before: str, text: str) -> list[tuple[str, bool]]:
    """The text in pieces, each with whether it is new: no part of what it has in common with `before`, word by word."""
    old, new = _words(before), _words(text)
    matcher = SequenceMatcher(None, [word.strip() for word in old], [word.strip() for word in new], autojunk=False)
    pieces = []
    for kind, _, _, start, end in matcher.get_opcodes():
        piece = "".join(new[start:end])
        words = piece.lstrip()
        pieces += [(piece[: len(piece) - len(words)], False), (words, kind != "equal")]
    return [(piece, is_new) for piece, is_new in pieces if piece]


def _cards(written: Sequence[Sample]) -> list[Card]:
    in_order = sorted(written, key=lambda one: one.generation)
    texts = [visible(sample.continuation) for sample in in_order]
    cards = []
    for place, (sample, text) in enumerate(zip(in_order, texts, strict=True)):
        pieces = changed(texts[place - 1], text) if place else [(text, False)]
        change = _change(pieces, in_order[place - 1].generation) if place else ""
        cards.append(Card(sample.generation, short(sample.perplexity), pieces, change, unseen(text)))
    return cards


def _only_seed(chains: Iterable[tuple[str, int]]) -> int | None:
    """The seed of these (condition, seed), None where there are several."""
    seeds = {seed for _, seed in chains}
    return seeds.pop() if len(seeds) == 1 else None


def _change(pieces: Sequence[tuple[str, bool]], before: int) -> str:
    words = sum(len(_WORD.findall(text)) for text, _ in pieces)
    new = sum(len(_WORD.findall(text)) for text, is_new in pieces if is_new)
    return f"{new} of {words} words new since generation {before}" if new else f"no new word since generation {before}"


def _words(text: str) -> list[str]:
    """Words and signs with the space before them, which together are the text."""
    return _PIECE.findall(text)


def _beginning(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _BEGINNING else f"{line[:_BEGINNING].rstrip()}…"
