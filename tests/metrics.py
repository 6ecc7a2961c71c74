"""The metrics that docs/metrics.md describes, by section, as tests read them."""

import itertools
import re

from tests.documentation import PROJECT

PAGE = PROJECT / "docs" / "metrics.md"
BRACES = re.compile(r"\{([^}]*)\}")


def documented() -> dict[str, list[str]]:
    """Names of metrics by heading, in order; a name in braces is as many as it stands for."""
    found: dict[str, list[str]] = {}
    for part in PAGE.read_text("utf-8").split("\n## ")[1:]:
        heading, _, text = part.partition("\n")
        names = re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)
        found[heading] = [name for shorthand in names for name in expanded(shorthand)]
    return found


def expanded(shorthand: str) -> list[str]:
    """`a/{b,c}` as a/b and a/c."""
    choices = [part.split(",") if place % 2 else [part] for place, part in enumerate(BRACES.split(shorthand))]
    return ["".join(parts) for parts in itertools.product(*choices)]
