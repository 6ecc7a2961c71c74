"""The model card of a pretrained base model: what it is, what it was trained on, how, and how well it does."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---

# {title}

A small OPT for studies of model collapse, pretrained on the documentation inside Python packages.
It writes text that looks like documentation and says nothing reliable: it is an object of study.

## Training

| | |
|---|---|
{training}

```
{command}
```

![Loss by step](loss.png)

## Quality

| text | perplexity per token |
|---|---|
{quality}

## Data

The text is the prose of docstrings: one document per docstring, paragraphs folded to one line, code and tables left out, each paragraph once.
One document in {held_out} is held out for validation and one for the test, by hash.
The documentation of {study} is not part of it: studies train and test on that.

| part | documents | characters | blocks | SHA-256 of the blocks |
|---|---|---|---|---|
{data}

SHA-256 of the tokenizer: `{tokenizer}`

| package | version | licence |
|---|---|---|
{packages}
"""


@dataclass(frozen=True)
class Card:
    """What the card says. `data`: by split documents, characters, blocks and digest. `packages`: name, version, licence."""

    title: str
    command: str
    training: Mapping[str, Any]
    quality: Mapping[str, float]
    data: Mapping[str, tuple[int, int, int, str]]
    packages: Mapping[str, tuple[str, str]]
    tokenizer: str
    study: str
    held_out: int

    def markdown(self) -> str:
        """The card as Markdown with the Hub's front matter."""
        return CARD.format(
            title=self.title,
            command=self.command,
            training=_rows((name, value) for name, value in self.training.items()),
            quality=_rows((name, f"{value:.2f}") for name, value in self.quality.items()),
            data=_rows(
                (name, f"{documents:,}", f"{characters:,}", f"{blocks:,}", f"`{digest}`")
                for name, (documents, characters, blocks, digest) in self.data.items()
            ),
            packages=_rows((name, *of) for name, of in self.packages.items()),
            tokenizer=self.tokenizer,
            study=self.study,
            held_out=self.held_out,
        )


def _rows(rows: Any) -> str:
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)
