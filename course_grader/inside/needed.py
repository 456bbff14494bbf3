"""Which statements of a notebook are needed for given names: those that bind them, and whatever those use in turn.

Scopes are Python's own: a statement is compiled, and its instructions tell which names it loads and stores.
"""

import ast
import dis
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from types import CodeType

RUNNING = ("time", "capture", "prun")  # magics that run the code they are given
SETTINGS = ("sys.path.", "warnings.", "os.chdir", "os.makedirs")  # calls of these prepare what follows
DYNAMIC = ("exec", "globals", "get_ipython")  # a statement that uses one of these may bind any name
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
REPLACING = (ast.Assign, ast.ClassDef, ast.Import, ast.ImportFrom, *FUNCTIONS)

Parse = Callable[[str], tuple[str, ast.Module]]


@dataclass
class Statement:
    """One top-level statement of a cell."""

    node: ast.stmt
    binds: set[str] = field(default_factory=set)
    uses: set[str] = field(default_factory=set)  # while it runs
    uses_later: set[str] = field(default_factory=set)  # when a function that it defines is called
    changes: set[str] = field(default_factory=set)  # names whose objects it may change: x.append(1), x["a"] = 1
    sets: set[str] = field(default_factory=set)  # names whose set_... it calls: torch.set_default_dtype(...)
    always: bool = False

    def join(self, other: "Statement") -> None:
        for name in ("binds", "uses", "uses_later", "changes", "sets"):
            getattr(self, name).update(getattr(other, name))
        self.always |= other.always


def statements(cell: ast.Module, parse: Parse) -> list[Statement]:
    """`parse` is for the code inside a magic such as %%time.

    Raises:
        SyntaxError: a statement parses and does not compile, such as a `return` outside of a function.
    """
    return [_examined(node, parse) for node in cell.body]


def needed(page: Sequence[Statement], names: Collection[str]) -> list[Statement]:
    """In the order of the page. What is used when a function is called may come from anywhere on the page; what a
    statement uses at once comes from above, as far up as the name is assigned something else.
    """
    _relate(page)
    keep = {number for number, each in enumerate(page) if each.always}
    keep.update(number for name in names for number in _providing(page, name))
    todo = list(keep)
    while todo:
        number = todo.pop()
        found = {other for name in page[number].uses_later for other in _providing(page, name)}
        found.update(other for name in page[number].uses for other in _reaching(page, name, number))
        todo += found - keep
        keep |= found
    return [page[number] for number in sorted(keep)]


def _providing(page: Sequence[Statement], name: str) -> list[int]:
    return [number for number, each in enumerate(page) if name in each.binds or name in each.changes]


def _reaching(page: Sequence[Statement], name: str, before: int) -> Iterator[int]:
    for number in reversed(range(before)):
        each = page[number]
        if name in each.binds or name in each.changes:
            yield number
        if name in each.binds and name not in each.uses and isinstance(each.node, REPLACING):
            return


def _relate(page: Sequence[Statement]) -> None:
    """What takes the whole page to know: which names are modules, and which functions bind a `global` when called."""
    modules = {name for each in page if isinstance(each.node, ast.Import | ast.ImportFrom) for name in each.binds}
    for each in page:
        each.changes -= modules  # a call of time.sleep changes nothing
        each.always |= bool(each.sets & modules)
    globals_of = {each.node.name: each.binds for each in page if isinstance(each.node, FUNCTIONS)}
    for each in page:
        if isinstance(each.node, ast.Expr) and isinstance(call := each.node.value, ast.Call):
            called = call.func.id if isinstance(call.func, ast.Name) else ""
            each.binds |= globals_of.get(called, set()) - {called}


def _examined(node: ast.stmt, parse: Parse) -> Statement:
    statement = Statement(node)
    if (code := _in_magic(node)) is not None:
        statement.uses.add("get_ipython")
        for inner in statements(parse(code)[1], parse):
            statement.join(inner)
        return statement
    module = ast.Module([node], [])
    _read(compile(module, "<statement>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True), statement)
    if isinstance(node, ast.For | ast.AsyncFor | ast.With | ast.AsyncWith):
        statement.uses -= statement.binds  # a loop's variable comes from the loop
    for each in _running(node):
        _note_changes(each, statement)
    if isinstance(node, ast.ImportFrom) and (node.module == "__future__" or node.names[0].name == "*"):
        statement.always = True
    statement.always |= not statement.uses.isdisjoint(DYNAMIC)
    return statement


def _read(code: CodeType, statement: Statement, outermost: bool = True) -> None:
    for instruction in dis.get_instructions(code):
        kind, _, scope = instruction.opname.partition("_")
        if kind == "LOAD" and scope in ("NAME", "GLOBAL"):
            (statement.uses if scope == "NAME" else statement.uses_later).add(instruction.argval)
        elif kind in ("STORE", "DELETE") and (scope == "GLOBAL" or (scope == "NAME" and outermost)):
            statement.binds.add(instruction.argval)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            _read(inner, statement, outermost=False)


def _note_changes(node: ast.AST, statement: Statement) -> None:
    match node:
        case ast.Attribute(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del()):
            statement.changes.add(_root(node))
        case ast.Expr(ast.Call(ast.Attribute(attr=method) as called)):
            statement.changes.add(_root(called))
            statement.always |= ast.unparse(called).startswith(SETTINGS)
            if method.startswith("set_"):
                statement.sets.add(_root(called))
        case ast.FunctionDef(decorator_list=decorators):  # @area.register adds to what `area` does
            called = (each.func if isinstance(each, ast.Call) else each for each in decorators)
            statement.changes.update(_root(each) for each in called if isinstance(each, ast.Attribute))


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """A statement and its parts, without the bodies of functions, which run later."""
    yield node
    if not isinstance(node, (*FUNCTIONS, ast.Lambda)):
        for child in ast.iter_child_nodes(node):
            yield from _running(child)


def _root(node: ast.expr) -> str:
    """The name before the dots and brackets, or an empty text."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _in_magic(node: ast.stmt) -> str | None:
    """The code that %time, %%time and their like run."""
    match node:
        case ast.Expr(ast.Call(ast.Attribute(ast.Call(ast.Name("get_ipython"))), [ast.Constant(name), *_, last])):
            if name in RUNNING and isinstance(last, ast.Constant) and isinstance(last.value, str):
                return last.value
    return None
