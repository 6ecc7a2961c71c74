"""A notebook as a page: its text and its code, in order. What it draws is seen when it is run."""

import json
from pathlib import Path


def notebook_page(notebook: Path) -> str:
    """The page, in Markdown."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    parts = []
    for cell in cells:
        source = "".join(cell["source"]).strip()
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
    return "\n\n".join(parts) + "\n"
