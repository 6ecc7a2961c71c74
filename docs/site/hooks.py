"""What MkDocs is asked beyond its own: pages that are made, pages that lie elsewhere in the project, and their links.

Loaded by `mkdocs.yml`; `make docs` builds the site.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from docs.site.code_reference import code_pages
from docs.site.notebook_page import notebook_page
from docs.site.settings_reference import presets_page, settings_page

PROJECT = Path(__file__).resolve().parents[2]
ELSEWHERE = {"infra/README.md": "infra.md", "SECURITY.md": "security.md", "benchmarks/LOG.md": "benchmarks.md"}
"""Pages of the site that lie outside docs/, by their path in the project."""
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(```.*?^```)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that are made when the site is built."""
    made = {"reference/settings.md": settings_page(), "reference/presets.md": presets_page()}
    made |= {f"reference/code/{name}": page for name, page in code_pages().items()}
    made["how-to/own-figure.md"] = notebook_page(PROJECT / "docs" / "notebooks" / "own-figure.ipynb")
    made |= {uri: (PROJECT / path).read_text("utf-8") for path, uri in ELSEWHERE.items()}
    for uri, page in made.items():
        files.append(File.generated(config, uri, content=page))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links as they are right in the project become right on the site; what is no page of it becomes its path."""
    uri = page.file.src_uri
    here = next((path for path, ours in ELSEWHERE.items() if ours == uri), f"docs/{uri}")
    pieces = FENCE.split(markdown)
    return "".join(
        piece if piece.startswith("```") else LINK.sub(lambda found: _link(found, here, uri, files), piece)
        for piece in pieces
    )


def _link(found: re.Match[str], here: str, uri: str, files: Files) -> str:
    image, text, target = found.groups()
    if re.match(r"[a-z]+:|#", target):
        return found[0]
    path, hash_, anchor = target.partition("#")
    place = posixpath.normpath(posixpath.join(posixpath.dirname(here), path))
    there = ELSEWHERE.get(place, place.removeprefix("docs/") if place.startswith("docs/") else "")
    if there and files.get_file_from_path(there):
        relative = posixpath.relpath(there, posixpath.dirname(uri) or ".")
        return f"{image}[{text}]({relative}{hash_}{anchor})"
    if not (PROJECT / place).exists():
        return found[0]  # for MkDocs to complain of
    if place.endswith(text.strip("`")):
        return f"`{place}`"
    return text if place in text else f"{text} (`{place}`)"
