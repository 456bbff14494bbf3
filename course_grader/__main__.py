"""Graded notebooks: `python3 course.py COMMAND` runs these commands."""

from pathlib import Path
from typing import Annotated

import typer

from course_grader.inert import plain
from course_grader.limits import GIB, LEAST_MEMORY, LEAST_PROCESSES, Limits
from course_grader.release import run, sources, stale, write

LIMITS = "Limits per notebook"
MEMORY = f"GiB of memory, at least {LEAST_MEMORY / GIB:g}"
PROCESSES = f"processes and threads, at least {LEAST_PROCESSES}"
GO_ON = "the same command with --resume continues"
app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


def _gib(text: str | float) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter("--memory takes GiB as a number, such as 4") from None


def _refusal(reason: str) -> typer.Exit:
    """Prints why the command cannot be carried out; the exit code is that of a wrong option."""
    typer.echo(f"Error: {plain(reason)}", err=True)
    return typer.Exit(2)


@app.callback()
def main() -> None:
    """Graded notebooks, for instructors."""


@app.command()
def release(
    names: Annotated[list[str] | None, typer.Argument(help="which assignments; none: all of them")] = None,
    check: Annotated[bool, typer.Option("--check", help="write nothing; fail if a release is out of date")] = False,
    first_run: Annotated[bool, typer.Option("--run", help="first run the sources and store their outputs")] = False,
) -> None:
    """Make assignments/release/ from assignments/source/: the same notebooks without solutions."""
    known = sources()
    if unknown := set(names or []) - set(known):
        raise typer.BadParameter(f"no source for {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    chosen = [known[name] for name in names or known]
    if check:
        old = [source.stem for source in chosen if stale(source)]
        lines = [f"{name}: out of date, run python3 course.py release {name}" for name in old]
        print("\n".join(lines) or "All releases are up to date.")
        raise typer.Exit(int(bool(old)))
    for source in chosen:
        if first_run:
            run(source)
        write(source)
        print(f"{source.stem}: released")


@app.command()
def grade(
    submissions: Annotated[
        Path, typer.Argument(help="nbgrader's submitted/ folder, or a folder with one notebook per student")
    ],
    assignment: Annotated[str, typer.Option(help="name of the assignment, such as hw1_mla")],
    out: Annotated[Path, typer.Option(help="folder for the grades")] = Path("grades"),
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="number of notebooks to grade at a time",
            show_default="one per core, if there is memory for as many",
        ),
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="grade on the workers of the Dask scheduler at this address")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="continue: grade only what is missing or has changed")
    ] = False,
    student: Annotated[str | None, typer.Option(help="grade only this student, again if necessary")] = None,
    require_sandbox: Annotated[
        bool, typer.Option("--require-sandbox", help="refuse to grade without a sandbox")
    ] = False,
    cell_seconds: Annotated[
        float,
        typer.Option(min=1, help="seconds per cell; waiting for the CPU does not count", rich_help_panel=LIMITS),
    ] = Limits.cell_seconds,
    call_seconds: Annotated[
        float, typer.Option(min=1, help="seconds per call of a function", rich_help_panel=LIMITS)
    ] = Limits.call_seconds,
    seconds: Annotated[
        float, typer.Option(min=1, help="seconds in all, for cells, calls and restarts", rich_help_panel=LIMITS)
    ] = Limits.seconds,
    memory: Annotated[
        float,
        typer.Option(
            parser=_gib,
            metavar="<float>",
            help=MEMORY,
            rich_help_panel=LIMITS,
        ),
    ] = Limits.memory / GIB,
    max_processes: Annotated[
        int,
        typer.Option("--processes", help=PROCESSES, rich_help_panel=LIMITS),
    ] = Limits.processes,
) -> None:
    """Grade a class (Linux only). Ctrl-C stops it, and the same command with --resume continues."""
    from course_grader import command  # here: `release` does without it

    try:
        limits = Limits(
            cell_seconds=cell_seconds, call_seconds=call_seconds, seconds=seconds, memory=memory * GIB,
            processes=max_processes,
        )  # fmt: skip
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    try:
        order = command.Order(
            submissions=submissions, assignment=assignment, out=out, jobs=jobs, cluster=cluster, resume=resume,
            student=student, require_sandbox=require_sandbox, limits=limits,
        )  # fmt: skip
        raise typer.Exit(int(not command.grade(order)))
    except ValueError as error:
        raise _refusal(str(error)) from None
    except OSError as error:  # only some errors name a file
        reason = f"{error.filename or out / assignment}: {error.strerror}" if error.strerror else error
        raise _refusal(f"{reason}. What is graded is kept: {GO_ON}.") from None
    except KeyboardInterrupt:
        typer.echo(f"\nStopped. What is graded is kept: {GO_ON}.", err=True)
        raise typer.Exit(130) from None


if __name__ == "__main__":
    app(prog_name="course.py")
