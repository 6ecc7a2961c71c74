"""The paper's figures for any study: one module a figure, each drawn as a picture and as an interactive page.

Every module has `draw(...) -> (matplotlib Figure, plotly Figure)` and a `CAPTION`. `language` and the modules of the other
families choose those whose numbers a study has, and `files` writes them. `samples` and `report` put a study's text and its
figures on a page, `table` closes it. Nothing is imported here: a plan shows tables and draws nothing.
"""
