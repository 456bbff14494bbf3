r"""Replaces formulas in Markdown by MathML, which browsers render without a script.

nbconvert leaves formulas to MathJax, which every exported page loads from the network. The template
notebooks/templates/course runs `MathMLPreprocessor` instead (see its conf.json).
"""

import re

from nbconvert.exporters.exporter import ResourcesDict
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode

# a fenced block, or a span between as many backticks
CODE = r"^(?P<indent> *)(?P<fence>```|~~~).*?^(?P=indent)(?P=fence)|(?<!`)(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)"
# Pandoc's rule for inline formulas: no blank just inside the dollars, no digit after them, no blank line between
DISPLAY = r"\$\$(?P<display>.+?)\$\$"
INLINE = r"(?<!\\)\$(?=\S)(?P<inline>(?:\\.|[^$\\\n]|\n(?!\s*\n))+?)(?<=\S)\$(?!\d)"
CODE_OR_FORMULA = re.compile(f"{CODE}|{DISPLAY}|{INLINE}", re.DOTALL | re.MULTILINE)
MARKDOWN = str.maketrans({mark: f"&#{ord(mark)};" for mark in "*_`|~[]\\$"})  # Markdown has its own use for these


class MathMLPreprocessor(Preprocessor):
    """For nbconvert: every formula of a Markdown cell becomes MathML."""

    def preprocess_cell(
        self, cell: NotebookNode, resources: ResourcesDict, index: int
    ) -> tuple[NotebookNode, ResourcesDict]:
        if cell.cell_type == "markdown":
            cell.source = with_mathml(cell.source)
        return cell, resources


def with_mathml(markdown: str) -> str:
    """The text with `<math>` elements for its formulas. Code and LaTeX with an error stay as they are."""
    return CODE_OR_FORMULA.sub(_mathml, markdown)


def _mathml(found: re.Match[str]) -> str:
    formula = found["display"] or found["inline"]
    if formula is None:
        return found[0]
    from latex2mathml.converter import convert  # its table of symbols takes a moment to load

    try:
        element = convert(formula, display="block" if found["display"] else "inline")
    except Exception:  # latex2mathml's errors have no base class; one wrong formula must not cost the whole page
        return found[0]
    return element.replace("\n", " ").translate(MARKDOWN)
