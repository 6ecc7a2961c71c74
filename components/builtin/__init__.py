"""The base model that ships with the project: `model.name=builtin`.

`opt-4m/README.md` is its model card: what it was trained on, how, and the command that trains it again (`-e pretrain`).
"""

from pathlib import Path

NAME = "builtin"
FOLDER = Path(__file__).parent / "opt-4m"


def folder_of(name: str) -> str:
    """The folder of the model or tokenizer that ships with the project; any other name as it is."""
    return str(FOLDER) if name == NAME else name
