"""Graded notebooks: `python3 course.py COMMAND` hands over to this."""

from typing import Annotated

import typer

from course_grader.release import run, sources, stale, write

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


@app.callback()
def main() -> None:
    """Graded notebooks, for instructors."""


@app.command()
def release(
    names: Annotated[list[str] | None, typer.Argument(help="which assignments; none: all of them")] = None,
    check: Annotated[bool, typer.Option("--check", help="write nothing; fail where a release is stale")] = False,
    first_run: Annotated[bool, typer.Option("--run", help="first run the sources and store their outputs")] = False,
) -> None:
    """Make assignments/release/ from assignments/source/: the same notebooks without solutions."""
    known = sources()
    if unknown := set(names or []) - set(known):
        raise typer.BadParameter(f"no source for {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    chosen = [known[name] for name in names or known]
    if check:
        old = [source.stem for source in chosen if stale(source)]
        print("\n".join(f"{name}: stale, run python3 course.py release {name}" for name in old) or "nothing is stale")
        raise typer.Exit(int(bool(old)))
    for source in chosen:
        if first_run:
            run(source)
        write(source)
        print(f"{source.stem}: released")


if __name__ == "__main__":
    app(prog_name="course.py")
