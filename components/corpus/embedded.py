"""The text that every Python ships with: the laptop preset's corpus, with nothing to download.

The study reads the language reference (`pydoc_data.topics`, 0.4 MB in 79 topics); the base model is
pretrained on the docstrings of the standard library (1.5 MB of English written by people).
"""

import ast
import hashlib
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from components.config.errors import BadInput

NOT_PROSE = {"test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages", "pydoc_data"}
SHORTEST_DOCSTRING = 40
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def language_reference() -> tuple[str, ...]:
    """The topics of `help()`, one document each, in their order by name; no paragraph twice.

    Topics repeat each other: `compound` has all of `if`, `while` and others. A fifth of the text is repetition.
    A paragraph stays in the first topic that has it, so that no split holds what another one does.

    Raises:
        BadInput: this Python came without them.
    """
    try:
        from pydoc_data.topics import topics
    except ModuleNotFoundError as error:
        raise BadInput(
            "corpus.path", "null", f"this Python has no {error.name}; give a file or folder of text"
        ) from None
    documents, seen = [], {""}
    for name in sorted(topics):
        new = []
        for part in paragraphs(topics[name]):
            if part.strip() not in seen:
                seen.add(part.strip())
                new.append(part)
        documents.append("".join(new))
    return tuple(document for document in documents if document)


def paragraphs(text: str) -> list[str]:
    """Paragraphs with the blank lines after them; joined they are the text."""
    return [part for part in re.split(r"(?<=\n\n)(?!\n)", text) if part]


def docstrings() -> tuple[str, ...]:
    """Docstrings of the standard library's modules, classes and functions, parsed and never imported.

    Each once, 40 characters or longer, in the order of files and lines; 3 seconds.
    """
    found = (text for path in _library() for text in _docstrings(ast.parse(path.read_bytes())))
    return tuple(dict.fromkeys(text + "\n" for text in found if len(text) >= SHORTEST_DOCSTRING))


def source_digest() -> str:
    """SHA-256 (hex) of the files that both come from; a twentieth of a second."""
    seen = hashlib.sha256()
    for text in language_reference():
        seen.update(hashlib.sha256(text.encode()).digest())
    for path in _library():
        seen.update(hashlib.sha256(path.read_bytes()).digest())
    return seen.hexdigest()


def _library() -> list[Path]:
    """Source files of the standard library, in one order on every machine."""
    root = Path(sysconfig.get_path("stdlib"))
    files: list[Path] = []
    for entry in root.iterdir():  # a walk over everything would go through all of site-packages
        if entry.name not in NOT_PROSE and not entry.name.startswith(("_sysconfigdata", "config-")):
            files += entry.rglob("*.py") if entry.is_dir() else [entry] if entry.suffix == ".py" else []
    return sorted(
        (path for path in files if not NOT_PROSE.intersection(path.relative_to(root).parts)),
        key=lambda path: path.relative_to(root).as_posix(),
    )


def _docstrings(node: ast.AST) -> Iterator[str]:
    """Docstrings below a node, in the order of the file."""
    if isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node)):
        yield text
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.ExceptHandler):
            yield from _docstrings(child)
