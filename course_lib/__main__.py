"""The command line: `python3 course.py COMMAND` hands over to this."""

import math
import os
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from course_lib.config import ModelConfig, published, published_name
from course_lib.count_table import print_counts

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
console = Console()
Number = TypeVar("Number", int, float)
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1)]


@app.command()
def params(
    model: Annotated[
        str, typer.Argument(help="a published model's name, in any spelling, or a config.json or its folder")
    ],
    bytes_per_element: Annotated[
        float, typer.Option(min=0.01, max=1024, help="size of a cached number: 2 for bf16, 1 for fp8")
    ] = 2,
) -> None:
    """Count a model's parameters, total and active, and its cache per token."""
    looks_like_file = model != "" and (model.endswith(".json") or Path(model).exists() or "/" in model)
    is_file = looks_like_file and published_name(model) is None
    try:
        config = ModelConfig.from_json(model) if is_file else published(model)
    except ValueError as error:
        meant = published_name(Path(model).name.removesuffix(".json")) if is_file and not Path(model).exists() else None
        hint = f"; did you mean the published model {meant}?" if meant else ""
        raise typer.BadParameter(f"{error}{hint}") from None
    print_counts(console, config, config.name or model, bytes_per_element)


@app.command()
def train(
    text: Annotated[str, typer.Option(help="stories, python-docs, tinyshakespeare, or a file")] = "stories",
    steps: Annotated[int, typer.Option(min=1)] = 300,
    batch_size: Annotated[int, typer.Option(min=1, help="sequences per step")] = 16,
    length: Annotated[int, typer.Option(min=1, help="bytes per sequence")] = 128,
    learning_rate: Annotated[float, typer.Option(help="at its peak")] = 5e-3,
    bias_speed: Annotated[float, typer.Option(min=0, help="balance by bias: how far it moves per step")] = 0.01,
    sequence_alpha: Annotated[float, typer.Option(min=0, help="balance by loss: its weight")] = 0.0,
    mtp_depths: Annotated[int | None, typer.Option(min=0, help="MTP depths; by default as in the config")] = None,
    seed: Seed = 0,
    config: Annotated[Path | None, typer.Option(help="a config.json; by default the course's mini model")] = None,
    out: Annotated[Path, typer.Option(help="checkpoint folder; an existing checkpoint is resumed")] = Path(
        "runs/train"
    ),
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; by default cuda if there is one")] = None,
    mixed_precision: Annotated[
        bool | None, typer.Option(help="products in bfloat16; by default on GPUs that have it")
    ] = None,
) -> None:
    """Train a small DeepSeek on a text. Stop it with Ctrl-C; the same command continues."""
    from course_lib import host, preflight

    with _explained():
        shape = preflight.byte_model(config, mtp_depths)
        # the weights are made in main memory, for a GPU too, so a giant is refused before PyTorch is imported
        preflight.refuse_too_large(
            shape, host.available_memory(), "this machine", source=config, bytes_each=preflight.BYTES_PER_WEIGHT
        )
        from course_lib import devices, runs  # PyTorch takes seconds to import, and other commands do without
        from course_lib.training import DivergedError, Recipe

        recipe = Recipe(
            steps=steps, batch_size=batch_size, length=length, learning_rate=learning_rate, bias_speed=bias_speed,
            sequence_alpha=sequence_alpha, seed=seed,
        )  # fmt: skip
        try:
            runs.train(text, shape, recipe, out, devices.choose(device), mixed_precision=mixed_precision)
        except DivergedError as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(1) from None


@app.command()
def write(
    model: Annotated[
        Path | None, typer.Option(help="folder of a finished training; by default the course's Shakespeare model")
    ] = None,
    prompt: Annotated[str, typer.Option(help="what the model continues")] = "Once upon a time",
    tokens: Annotated[int, typer.Option(min=1, help="bytes to write")] = 200,
    temperature: Annotated[float, typer.Option(min=0, help="0: always the likeliest byte")] = 0.8,
    top_p: Annotated[float, typer.Option(help="draw among the likeliest bytes that hold this probability")] = 1.0,
    seed: Seed = 0,
    speculate: Annotated[
        bool | None, typer.Option(help="check drafts of the MTP depths; by default if the model has any")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; by default cuda if there is one")] = None,
) -> None:
    """Write text with a model that `train` trained."""
    from course_lib import devices, runs

    with _explained():
        runs.write(
            model, prompt, tokens, devices.choose(device),
            temperature=temperature, top_p=top_p, seed=seed, speculate=speculate,
        )  # fmt: skip


@app.command(name="sweep")
def sweep_command(
    name: Annotated[str, typer.Argument(help="balance or ablations, on the CPU; isoflop, on a GPU if there is one")],
    seeds: Annotated[str, typer.Option(help="separated by commas")] = "0,1,2",
    steps: Annotated[int | None, typer.Option(min=1, help="per training; balance, ablations")] = None,
    budgets: Annotated[str | None, typer.Option(help="in FLOP, separated by commas; isoflop")] = None,
    sizes: Annotated[int | None, typer.Option(min=1, help="models per budget; isoflop")] = None,
    out: Annotated[Path | None, typer.Option(help="a CSV; runs that have a row in it are left out")] = None,
    workers: Annotated[int, typer.Option(min=1, help="trainings at a time, one core each; here")] = os.cpu_count() or 1,
    cluster: Annotated[str | None, typer.Option(help="address of a Dask scheduler, whose workers train")] = None,
) -> None:
    """Train many small models for a comparison. Stop it with Ctrl-C; the same command continues."""
    from course_lib import runs
    from course_lib.experiments import EXPERIMENTS

    if name not in EXPERIMENTS:
        raise typer.BadParameter(f"unknown experiment {name!r}; known: {', '.join(EXPERIMENTS)}")
    with _explained():
        given = {"steps": steps, "budgets": budgets and _numbers(float, "budgets", budgets), "sizes": sizes}
        options = {option: value for option, value in given.items() if value is not None}
        file = out or Path(f"runs/{name}.csv")
        runs.run_sweep(name, _numbers(int, "seeds", seeds), options, file, workers, cluster)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def lab(context: typer.Context) -> None:
    """Open your own copies of all lessons and homework in JupyterLab; further arguments go to JupyterLab."""
    from course_lib import workspace

    root = Path(__file__).parents[1]
    folder = root / workspace.FOLDER
    update = workspace.update(root, folder)
    if update.copied:
        console.print(f"Copied {len(update.copied)} notebooks to {folder}: work there, the originals stay as they are")
    for name in update.kept:
        console.print(
            f"Kept your edited {folder / name}. To get the course's newer version, rename yours and start again"
        )
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(
        filter(None, [str(workspace.SETTINGS), os.environ.get("JUPYTER_CONFIG_PATH")])
    )
    os.chdir(folder)
    sys.argv = ["jupyter-lab", *workspace.lab_arguments(root, context.args)]
    runpy.run_module("jupyterlab", run_name="__main__")


@app.command(name="doctor")
def doctor_command() -> None:
    """Check this machine, and say how to fix what is missing."""
    from course_lib import doctor  # here, as it imports PyTorch

    table = Table("", "found", "to fix")
    for finding in doctor.examine():
        table.add_row(finding.name, finding.found, finding.remedy)
    console.print(table)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def bench(
    context: typer.Context, name: Annotated[str, typer.Argument(help="a file of benchmarks/, say decode")]
) -> None:
    """Measure a claim of benchmarks/RESULTS.md; further arguments go to the benchmark."""
    folder = Path(__file__).parents[1] / "benchmarks"
    known = sorted(file.stem for file in folder.glob("[!_]*.py"))
    if name not in known:
        raise typer.BadParameter(f"no benchmark {name!r}; known: {', '.join(known) or 'none, as this is no checkout'}")
    sys.argv = [name, *context.args]
    sys.path.insert(0, str(folder))  # as if Python had been called with the file
    runpy.run_path(str(folder / f"{name}.py"), run_name="__main__")


@contextmanager
def _explained() -> Iterator[None]:
    """Errors in what was asked for are shown in a sentence, without a traceback."""
    try:
        yield
    except BrokenPipeError:
        raise  # typer ends quietly: whoever read the output has had enough
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _numbers(kind: type[Number], name: str, text: str) -> list[Number]:
    try:
        numbers = [kind(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(0 <= number < math.inf for number in numbers):
        raise ValueError(f"{name}: expected numbers separated by commas, got {text!r}")
    return numbers


if __name__ == "__main__":
    app(prog_name="course.py")
