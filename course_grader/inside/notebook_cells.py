"""Runs cells as a notebook would: with IPython's magic, `await` outside of functions, and sources to look up."""

import __future__

import ast
import asyncio
import inspect
import io
import linecache
import shlex
import sys
import types
from contextlib import suppress
from pathlib import Path
from typing import Any

import IPython
from IPython.core import getipython
from IPython.core.inputtransformer2 import TransformerManager


class Notebook:
    """Its names are those of the module `__main__`."""

    def __init__(self) -> None:
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        self.names, self._number, self._flags = main.__dict__, 0, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        shell: Any = _Shell(self)
        self.names.update(display=shell, get_ipython=shell, exit=shell, quit=shell, In=[""], Out={})
        for module in (IPython, getipython):
            module.__dict__["get_ipython"] = shell
        sys.stdin, sys.breakpointhook = _Keyboard(), lambda *args, **kwargs: None

    def run(self, source: str) -> None:
        self._execute(self._compiled(source)[1])

    def parse(self, source: str) -> tuple[str, ast.Module]:
        """The name of the file that the code belongs to, as in tracebacks, and its syntax tree."""
        return self._compiled(source, ast.PyCF_ONLY_AST)

    def run_statements(self, statements: list[ast.stmt], place: str) -> None:
        """Some of those that `parse` has found in a cell."""
        self._execute(compile(ast.Module(statements, []), place, "exec", self._flags))

    def _compiled(self, source: str, flags: int = 0) -> tuple[str, Any]:
        self._number += 1
        place = f"<cell {self._number}>"
        try:
            made = compile(source, place, "exec", self._flags | flags)
        except (SyntaxError, ValueError):
            blank = source[: len(source) - len(source.lstrip())].count("\n")  # lines that IPython takes away
            source = "\n" * blank + TransformerManager().transform_cell(source)
            made = compile(source, place, "exec", self._flags | flags)
        linecache.cache[place] = (len(source), None, source.splitlines(keepends=True), place)
        return place, made

    def _execute(self, code: types.CodeType) -> None:
        self._flags |= code.co_flags & __future__.annotations.compiler_flag  # holds for the cells below as well
        if code.co_flags & inspect.CO_COROUTINE:
            asyncio.run(eval(code, self.names))
        else:
            exec(code, self.names)


class _Keyboard(io.TextIOBase):
    """Whoever asks gets an empty line."""

    def readline(self, size: int = -1, /) -> str:
        return "\n"


class _Shell:
    """Stands for IPython: runs what its magic would only watch, keeps files, and does nothing with all else."""

    def __init__(self, notebook: Notebook) -> None:
        self._notebook = notebook

    def __call__(self, *args: Any, **kwargs: Any) -> "_Shell":
        return self

    def __getattr__(self, name: str) -> "_Shell":
        return self

    def run_line_magic(self, name: str, line: str, *args: Any) -> "_Shell":
        if name == "time":
            self._notebook.run(line)
        elif name == "run":
            with suppress(OSError, IndexError):
                self._notebook.run(_program(line).read_text(encoding="utf-8-sig"))
        return self

    def getoutput(self, line: str, *args: Any, **kwargs: Any) -> "_Lines":
        """files = !ls"""
        return _Lines()

    def run_cell_magic(self, name: str, line: str, body: str) -> None:
        if name in ("time", "capture", "prun"):
            self._notebook.run(body)
        elif name in ("writefile", "file"):
            options = line.split()
            Path(options[-1]).parent.mkdir(parents=True, exist_ok=True)  # `!mkdir` has done nothing
            with open(options[-1], "a" if "-a" in options else "w", encoding="utf-8") as file:
                file.write(body)


class _Lines(list[str]):
    """What a program of the shell would have printed: nothing, in whichever line somebody looks."""

    n = s = p = ""

    def __getitem__(self, place: Any) -> Any:
        return super().__getitem__(place) if isinstance(place, slice) else ""


def _program(line: str) -> Path:
    """The file that %run is given, between its options and the program's arguments."""
    words = [word for word in shlex.split(line) if not word.startswith("-")]
    return Path(words[0]) if words[0].endswith((".py", ".ipy")) else Path(f"{words[0]}.py")
