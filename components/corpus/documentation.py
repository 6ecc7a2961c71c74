"""The documentation inside the pinned packages: text that is the same on every machine, with nothing to download.

The study reads the docstrings of one package, and the shipped base model was pretrained on those of
all others. So fine-tuning meets text of another kind than pretraining, as WikiText-2 is to OPT.
Files are parsed and never imported.
"""

import ast
import hashlib
import re
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, PackagePath, distribution

from components.config.errors import BadInput

STUDY = "networkx"
"""The package whose documentation a study trains and tests on: 1.2 MB of prose about graphs (BSD-3-Clause)."""
PRETRAINING = {
    "GitPython": "BSD-3-Clause", "Jinja2": "BSD-3-Clause", "SQLAlchemy": "MIT", "Werkzeug": "BSD-3-Clause",
    "alembic": "MIT", "anyio": "MIT", "boto3": "Apache-2.0", "botocore": "Apache-2.0", "click": "BSD-3-Clause",
    "databricks-sdk": "Apache-2.0", "datasets": "Apache-2.0", "deepspeed": "Apache-2.0", "docker": "Apache-2.0",
    "fonttools": "MIT", "fsspec": "BSD-3-Clause", "google-auth": "Apache-2.0", "grpcio": "Apache-2.0",
    "huggingface_hub": "Apache-2.0", "joblib": "BSD-3-Clause", "matplotlib": "PSF-based", "mlflow": "Apache-2.0",
    "narwhals": "MIT", "numpy": "BSD-3-Clause", "optuna": "MIT", "pandas": "BSD-3-Clause", "pillow": "MIT-CMU",
    "pyarrow": "Apache-2.0", "pydantic": "MIT", "ray": "Apache-2.0", "rich": "MIT", "scikit-learn": "BSD-3-Clause",
    "scipy": "BSD-3-Clause", "torch": "BSD-3-Clause", "transformers": "Apache-2.0", "urllib3": "MIT",
}  # fmt: skip
"""The packages whose documentation the base model is pretrained on, with their licences: 27 MB of prose."""

NOT_DOCUMENTATION = {"tests", "test", "testing", "_vendor", "vendor", "third_party"}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
SHORTEST_DOCSTRING, SHORTEST_PARAGRAPH = 200, 40
MOST_MARKUP = 1 / 12
"""Share of a paragraph's characters that are =, _ or `: above it, a table or code rather than prose."""


def documents(packages: Sequence[str], without: Sequence[str] = ()) -> tuple[str, ...]:
    """The prose of the packages' docstrings: one document per docstring, one line per paragraph.

    A paragraph counts once, in the first docstring that has it; documents are in the order of their
    SHA-256, so that packages are mixed alike on every machine.

    Args:
        without: documents whose paragraphs are left out.

    Raises:
        BadInput: a package is not installed.
    """
    seen = {line for document in without for line in document.splitlines()}
    found = []
    for package in packages:
        for file in _sources(package):
            for docstring in _docstrings(ast.parse(file.read_binary())):
                new = [line for line in dict.fromkeys(_prose(docstring)) if line not in seen]
                seen.update(new)
                if new:
                    found.append("\n".join(new) + "\n")
    return tuple(sorted(found, key=lambda text: hashlib.sha256(text.encode()).digest()))


def source_digest(packages: Sequence[str]) -> str:
    """SHA-256 (hex) of all files that `documents` would read; faster than parsing them.

    Raises:
        BadInput: a package is not installed.
    """
    seen = hashlib.sha256()
    for package in packages:
        for file in _sources(package):
            seen.update(hashlib.sha256(file.read_binary()).digest())
    return seen.hexdigest()


def _sources(package: str) -> list[PackagePath]:
    """A package's Python files without its tests, in the order of their names."""
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        files = []
    sources = [file for file in files if file.suffix == ".py" and not NOT_DOCUMENTATION.intersection(file.parts)]
    if not sources:
        remedy = f"the text is {package}'s documentation, which is not installed; install requirements.lock, or give a folder of text"
        raise BadInput("corpus.path", "null", remedy)
    return sorted((file for file in sources if ".." not in file.parts), key=str)


def _docstrings(node: ast.AST) -> Iterator[str]:
    """Docstrings below a node that are long enough to be documentation, in the order of the file."""
    if isinstance(node, DOCUMENTED) and len(text := ast.get_docstring(node) or "") > SHORTEST_DOCSTRING:
        yield text
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.ExceptHandler):
            yield from _docstrings(child)


def _prose(docstring: str) -> Iterator[str]:
    """The paragraphs of a docstring that are prose, each on one line: no code, no tables, no headings alone."""
    for paragraph in re.split(r"\n\s*\n", docstring):
        text = " ".join(re.sub(r"[\x00-\x08\x0e-\x1f\x7f]", "", paragraph).split())
        markup = sum(map(text.count, "=_`"))
        if len(text) >= SHORTEST_PARAGRAPH and ">>>" not in text and markup <= MOST_MARKUP * len(text):
            yield text
