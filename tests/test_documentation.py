"""The documentation inside the pinned packages: the same text everywhere, prose only, each paragraph once."""

import random
import textwrap
from importlib.metadata import distribution
from pathlib import Path

import pytest

from components.config.errors import BadInput
from components.corpus import documentation
from components.corpus.documentation import PRETRAINING, STUDY, documents, source_digest


@pytest.fixture(scope="module")
def study() -> tuple[str, ...]:
    return documents([STUDY])


def test_a_document_is_a_docstring_with_a_line_per_paragraph_and_no_paragraph_stands_twice(study) -> None:
    lines = [line for document in study for line in document.splitlines()]
    assert len(study) > 1000
    assert sum(map(len, lines)) > 1_000_000
    assert len(set(lines)) == len(lines)
    assert all(len(line) >= documentation.SHORTEST_PARAGRAPH for line in lines)
    assert not any(">>>" in line or "\t" in line or "  " in line for line in lines)


def test_documents_hold_what_the_package_says_of_itself_and_nothing_of_its_tests(study) -> None:
    import networkx

    said = " ".join(networkx.betweenness_centrality.__doc__.split("\n\n")[0].split())
    assert any(said in document for document in study)
    names = {file.as_posix() for file in documentation._sources(STUDY)}
    assert "networkx/algorithms/centrality/betweenness.py" in names
    assert not any("/tests/" in name for name in names)


def test_the_order_does_not_depend_on_where_files_lie(study) -> None:
    """It goes by the documents' hashes, so neither a file system nor a file's place decides it."""
    assert documents([STUDY]) == study
    shuffled = list(study)
    random.Random(0).shuffle(shuffled)
    assert sorted(shuffled, key=lambda text: documentation.hashlib.sha256(text.encode()).digest()) == list(study)


def test_what_a_study_reads_is_no_part_of_another_text() -> None:
    known = documents(["click"])
    rest = documents(["click", "anyio"], without=known)
    lines = {line for document in known for line in document.splitlines()}
    assert rest
    assert not lines.intersection(line for document in rest for line in document.splitlines())


def test_a_package_that_is_not_there_is_named() -> None:
    with pytest.raises(BadInput, match=r"corpus.path = null: the text is no-such-package's documentation"):
        documents(["no-such-package"])
    with pytest.raises(BadInput, match="not installed"):
        source_digest(["no-such-package"])


@pytest.mark.parametrize("package", [*PRETRAINING, STUDY])
def test_every_package_is_pinned_and_its_licence_is_the_one_that_it_states(package: str) -> None:
    pins = (Path(__file__).parents[1] / "requirements.lock").read_text().lower().replace("_", "-")
    assert f"{package.lower().replace('_', '-')}==" in pins
    metadata = distribution(package).metadata
    stated = [metadata.get("License-Expression"), metadata.get("License"), *(metadata.get_all("Classifier") or [])]
    words = " ".join(filter(None, stated)).lower()
    family = PRETRAINING.get(package, "BSD-3-Clause").split("-")[0].lower()
    assert {"psf": "python software foundation"}.get(family, family) in words


def test_prose_is_what_has_neither_code_nor_tables_nor_a_few_words_only() -> None:
    docstring = textwrap.dedent("""\
        Return the answer to a question that nobody has asked
        so far.

        Short.

        >>> answer()  # an example is no prose, however long it may be
        42

        ====== ======= ====== =======
        a_name b_value c_name d_value
        ====== ======= ====== =======

        A second paragraph,   whose spaces\x08 are folded to single ones.
        """)
    assert list(documentation._prose(docstring)) == [
        "Return the answer to a question that nobody has asked so far.",
        "A second paragraph, whose spaces are folded to single ones.",
    ]
