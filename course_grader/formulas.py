r"""Formulas in Markdown, and MathML in their place, which browsers draw without any script.

nbconvert leaves formulas to MathJax, which every reader of an exported page has to load from the network. The template
notebooks/templates/course runs `MathMLPreprocessor` instead (its conf.json says so).
"""

import re

from nbconvert.exporters.exporter import ResourcesDict
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode

# a fenced block, or a span between as many backticks
CODE = r"^(?P<indent> *)(?P<fence>```|~~~).*?^(?P=indent)(?P=fence)|(?<!`)(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)"
# as Pandoc finds a formula in a line: no blank inside its ends, no digit after it, no blank line in it
DISPLAY = r"\$\$(?P<display>.+?)\$\$"
INLINE = r"(?<!\\)\$(?=\S)(?P<inline>(?:\\.|[^$\\\n]|\n(?!\s*\n))+?)(?<=\S)\$(?!\d)"
CODE_OR_FORMULA = re.compile(f"{CODE}|{DISPLAY}|{INLINE}", re.DOTALL | re.MULTILINE)
MARKDOWN = str.maketrans({mark: f"&#{ord(mark)};" for mark in "*_`|~[]\\$"})  # what Markdown would read as its own


class MathMLPreprocessor(Preprocessor):
    """For nbconvert: every formula of a Markdown cell becomes MathML."""

    def preprocess_cell(
        self, cell: NotebookNode, resources: ResourcesDict, index: int
    ) -> tuple[NotebookNode, ResourcesDict]:
        if cell.cell_type == "markdown":
            cell.source = with_mathml(cell.source)
        return cell, resources


def with_mathml(markdown: str) -> str:
    """The same text with `<math>` elements for its formulas. Code stays as it is, and so does LaTeX with an error."""
    return CODE_OR_FORMULA.sub(_mathml, markdown)


def _mathml(found: re.Match[str]) -> str:
    formula = found["display"] or found["inline"]
    if formula is None:
        return found[0]
    from latex2mathml.converter import convert  # its table of symbols takes a moment to load

    try:
        element = convert(formula, display="block" if found["display"] else "inline")
    except Exception:  # latex2mathml's errors have no base class; a slip in one formula must not cost the whole page
        return found[0]
    return element.replace("\n", " ").translate(MARKDOWN)
