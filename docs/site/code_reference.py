"""Pages out of the docstrings: a room a page, its modules in the order in which one reads them."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
ROOMS = {
    "recursion": "The loop, for every family: compose, fit, sample, measure.",
    "regimes": "What the next generation sees, as index arithmetic.",
    "corpus": "From a text to blocks of token ids.",
    "families": "Kinds of generative models: each can compose, fit, sample and measure.",
    "measures": "Numbers about text and tails: pure functions.",
    "scorecard": "The paper's claims, with estimates, intervals and verdicts.",
    "sweep": "What is searched, objectives, pruning, the curve and its answers.",
    "figures": "One module a figure.",
    "store": "Every finished phase, whole and digested, in a folder or in a bucket.",
    "tracking": "Everything MLflow.",
    "cluster": "Everything Ray.",
    "config": "Settings and presets.",
    "logs": "Lines for people, records for machines.",
    "terminal": "What a person sees while something runs.",
}


def code_pages() -> dict[str, str]:
    """By name, the pages in Markdown; mkdocstrings fills in what the docstrings say."""
    rooms = "\n".join(f"- [`components.{room}`]({room}.md): {what}" for room, what in ROOMS.items())
    index = (
        "# Code\n\nPublic functions and classes, as their docstrings tell them; shapes, units, what is raised, and the paper's "
        f"section or figure.\n\n{rooms}\n"
    )
    return {"index.md": index} | {f"{room}.md": _page(room, what) for room, what in ROOMS.items()}


def _page(room: str, what: str) -> str:
    modules = "\n\n".join(map(_directive, _modules(room)))
    return f"# {room.capitalize()}\n\n{what}\n\n{modules}\n"


def _directive(module: str) -> str:
    """Of a package, what it says; what it hands on is told where it is made."""
    package = (PROJECT / Path(*module.split("."))).is_dir()
    return f"::: {module}" + ("\n    options:\n      members: false" if package else "")


def _modules(room: str) -> list[str]:
    """The room's modules, the package itself first where it says something."""
    folder = PROJECT / "components" / room
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    names = []
    for file in files:
        if file.stat().st_size:
            parts = file.relative_to(PROJECT).with_suffix("").parts
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return sorted(names, key=lambda name: (name.count("."), name) if name.count(".") < 2 else (2, name))
