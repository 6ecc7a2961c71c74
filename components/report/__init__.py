"""report.html: one self-contained page on what was run and what happened to the models, for a colleague to read.

`contents`: all that a page says of a study. `page`: from contents to the file. Between them a module a section: `settings`,
`figures`, `samples`, `lineage`, `cost`, `not_run`, and `overview` where a page is about several studies; each makes plain
values that its macro file in `templates` shows. `artifacts`: the contents out of the files of a study's run.
"""

from components.report.contents import Contents
from components.report.page import write_page, write_report

__all__ = ["Contents", "write_page", "write_report"]
