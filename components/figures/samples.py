"""A generation's text for people: the same prompts in every generation, to be read side by side (samples.md).

Text that a model wrote can hold anything. In markdown it stands in a code fence longer than every run of backticks in
it, where neither markdown nor HTML is interpreted; control characters become visible signs.
"""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 100
LONG = 8
"""White spaces at the end of a text, from which on they are told: collapsed models write hundreds of them."""
_SIGNS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {0x7F: 0x2421}
_SIGNS |= dict.fromkeys([*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)


@dataclass(frozen=True)
class Sample:
    """What one generation wrote after one prompt; `perplexity` is the continuation's under generation 0."""

    condition: str
    seed: int
    generation: int
    prompt: str
    continuation: str
    perplexity: float


def visible(text: str) -> str:
    """The text with control characters, and those that reverse the direction of writing, replaced by visible signs."""
    return text.translate(_SIGNS)


def unseen(text: str) -> str:
    """In words, how much of a text nobody can see: a long run of white space at its end, or all of it; else nothing."""
    blank = len(text) - len(text.rstrip())
    if blank < LONG:
        return ""
    return f"nothing but {blank} white spaces" if blank == len(text) else f"then {blank} white spaces"


def samples_markdown(
    prompts: Sequence[str], continuations: Sequence[str], generation: int, perplexities: Sequence[float]
) -> str:
    """`samples.md` of a generation: each prompt with its continuation and its perplexity under the generation-0 model.

    The three sequences have equal length (ValueError otherwise). Lines are broken at WIDTH characters.
    """
    parts = [
        f"# Generation {generation}: samples\n",
        "The same prompts (real training text) in every generation. Perplexity is the continuation's under the "
        "generation-0 model: low is predictable text, high is text that the real data would hardly give.\n",
    ]
    samples = zip(prompts, continuations, perplexities, strict=True)
    for number, (prompt, continuation, perplexity) in enumerate(samples, start=1):
        parts.append(f"## Prompt {number}\n\n{_fenced(prompt)}\n")
        said = ", ".join(filter(None, [f"perplexity {perplexity:.1f}", unseen(continuation)]))
        parts.append(f"Continuation by generation {generation}, {said}:\n\n{_fenced(continuation)}\n")
    return "\n".join(parts)


def _fenced(text: str) -> str:
    lines = [line for written in visible(text).split("\n") for line in _broken(written)]
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return "\n".join([fence + "text", *lines, fence])


def _broken(line: str) -> list[str]:
    wrapped = textwrap.wrap(line, WIDTH, replace_whitespace=False, drop_whitespace=False, expand_tabs=False)
    return wrapped or [""]
