"""What an error of a student's function says, for a page that has no traceback."""

import traceback
from textwrap import shorten


def told(error: BaseException, *functions: object) -> str:
    """The error in words, and the line that raised it if that is in the file or cell of one of the functions."""
    words = "".join(traceback.format_exception_only(error))
    files = {getattr(getattr(each, "__code__", None), "co_filename", None) for each in functions}
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    if own:
        words += f" (in {own[-1].name}, line {own[-1].lineno}: {shorten(own[-1].line or '', 80)})"
    return shorten(words, 300)
