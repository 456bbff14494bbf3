"""The command line: `python3 course.py COMMAND` hands over to this."""

import runpy
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from course_lib import accounting, doctor
from course_lib.config import ModelConfig, published, published_names

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
console = Console()


@app.command()
def params(
    model: Annotated[str, typer.Argument(help="a published model's name, or a path to a config.json")],
    bytes_per_element: Annotated[
        float, typer.Option(min=0.01, help="size of a cached number: 2 for bf16, 1 for fp8")
    ] = 2,
) -> None:
    """Count a model's parameters, total and active, and its cache per token."""
    try:
        config = published(model) if model in published_names() else ModelConfig.from_json(model)
    except ValueError as error:
        hint = "" if model.endswith(".json") else f"\nPublished models: {', '.join(published_names())}"
        raise typer.BadParameter(f"{error}{hint}") from None
    counts = accounting.parameters(config)
    table = Table(title=config.name or model, box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for heading in ("part", "one layer", "layers", "total", "active"):
        table.add_column(heading, justify="left" if heading == "part" else "right")
    for name, part in counts.components.items():
        label = name.replace("attention.", "attn ").replace("_", " ")
        table.add_row(label, *_grouped(part.each, part.layers, part.total, part.active))
    table.add_section()
    table.add_row("all", "", "", *_grouped(counts.total, counts.active), style="bold")
    table.add_row("no embedding", "", "", "", *_grouped(counts.active_without_embedding))
    table.add_row("no vocabulary", "", "", "", *_grouped(counts.active_without_vocabulary))
    console.print(table)
    elements, size = accounting.cache_elements(config), accounting.cache_bytes(config, 1, bytes_per_element)
    console.print("cache a token: {} numbers, {} bytes".format(*_grouped(elements, size)))


@app.command(name="doctor")
def doctor_command() -> None:
    """Check this machine, and say how to mend what it lacks."""
    table = Table("", "found", "to mend")
    for finding in doctor.examine():
        table.add_row(finding.name, finding.found, finding.remedy)
    console.print(table)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def bench(
    context: typer.Context, name: Annotated[str, typer.Argument(help="a file of benchmarks/, say decode")]
) -> None:
    """Measure a claim of benchmarks/RESULTS.md; further arguments go to the benchmark."""
    folder = Path(__file__).parents[1] / "benchmarks"
    known = sorted(file.stem for file in folder.glob("*.py"))
    if name not in known:
        raise typer.BadParameter(f"no benchmark {name!r}; known: {', '.join(known) or 'none, as this is no checkout'}")
    sys.argv = [name, *context.args]
    runpy.run_path(str(folder / f"{name}.py"), run_name="__main__")


def _grouped(*counts: int) -> list[str]:
    return [f"{count:,}" for count in counts]


if __name__ == "__main__":
    app(prog_name="course.py")
