"""Grading a class: `course.py grade` against `nbgrader autograde`, on the same submissions of hw1_mla, in turns.

    python benchmarks/grading.py [--tables turns growth] [--submissions 50] [--rounds 1]
        [--sizes 10 100 1000] [--jobs N]

Every student hands in the solved page with slips and gaps of her own. nbgrader gets a course made from the same source,
whose tests are the page's own `check` cells: it runs each page in a kernel, as it stands, and reads their points. Both
are started from the command line as a user would start them, and what they take to start counts. Ours also writes the
CSV, the feedback, Gradescope's files and the same gradebook; nbgrader writes notebooks and gradebook, and no feedback.
nbgrader marks one page after another; ours has as many jobs as there are cores by default, and runs with one as well.

turns: seconds for the class, the median of the rounds, and how many students both give the same points.
growth: ours alone, for classes of several sizes; memory is the most that the command's own process held, and the most
that all its processes held together (what several share counts once), looked at twice a second.
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbformat
from nbgrader.api import Gradebook
from tqdm import tqdm

from course_grader import processes
from course_grader.release import ASSIGNMENTS

NAME = "hw1_mla"
GAP = "    raise NotImplementedError\n"
SLIPS = (
    ("per_layer = 2 * keys", "per_layer = keys"),
    ('return config["num_hidden_layers"] * per_layer', "return per_layer"),
    ("b * angles.sin()", "-b * angles.sin()"),
    ("theta ** (-evens", "theta ** (-2 * evens"),
    ("+ eps).sqrt()", ").sqrt()"),
    (", rotate(key, positions, theta)", ", key"),
    ("queries.shape[-1] ** 0.5", "q_nope.shape[-1] ** 0.5"),
    ("bhst,bthv->bshv", "bhst,bthv->bhsv"),
    ("+ q_rope.shape[-1]) ** 0.5", "+ latent.shape[-1]) ** 0.5"),
    ("return 2 * heads * (folds", "return heads * (folds"),
    ("return 2 * heads * (writing_out", "return undefined * (writing_out"),
)


def hand_in(folder: Path, number: int) -> None:
    """Submissions in nbgrader's tree, the same for the same number."""
    source = nbformat.read(ASSIGNMENTS / "source" / NAME / f"{NAME}.ipynb", as_version=4)
    release = (ASSIGNMENTS / "release" / NAME / f"{NAME}.ipynb").read_text(encoding="utf-8")
    solved = {cell.metadata.nbgrader.grade_id: cell.source for cell in source.cells if "nbgrader" in cell.metadata}
    for student in range(number):
        page, chance = nbformat.reads(release, as_version=4), random.Random(student)
        for cell in page.cells:
            if cell.metadata.get("nbgrader", {}).get("solution"):
                cell.source = _answer(solved[cell.metadata.nbgrader.grade_id], chance)
        path = folder / f"student{student:04}" / NAME / f"{NAME}.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(page, path)


def _answer(solution: str, chance: random.Random) -> str:
    """One in ten is not written, and of the slips that can be made here each is made in one of five."""
    lines = [line for line in solution.splitlines(keepends=True) if "### " not in line]
    if chance.random() < 0.1:
        end = 1 + max(number for number, line in enumerate(lines) if '"""' in line)
        return "".join(lines[:end]) + GAP
    text = "".join(lines)
    for right, wrong in SLIPS:
        if right in text and chance.random() < 0.2:
            text = text.replace(right, wrong)
    return text


def ours(submitted: Path, out: Path, jobs: int) -> list[str]:
    command = [sys.executable, "-m", "course_grader", "grade", str(submitted), "--assignment", NAME]
    return [*command, "--out", str(out), "--jobs", str(jobs), "--require-sandbox"]


def course(folder: Path) -> None:
    """nbgrader's own, with the assignment generated and nothing graded."""
    shutil.copytree(ASSIGNMENTS / "source" / NAME, folder / "source" / NAME)
    shutil.copy(ASSIGNMENTS / "nbgrader_config.py", folder)
    run(["nbgrader", "generate_assignment", NAME, "--create"], folder)
    shutil.copy(folder / "gradebook.db", folder / "new.db")


def nbgrader(folder: Path) -> float:
    """Seconds for the class, from nothing graded."""
    shutil.rmtree(folder / "autograded", ignore_errors=True)
    shutil.copy(folder / "new.db", folder / "gradebook.db")
    return run(["nbgrader", "autograde", NAME], folder)


def run(command: list[str], folder: Path) -> float:
    """Seconds that a command takes; what it says is shown only where it fails."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    began = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{done.stdout.decode(errors='replace')[-3000:]}")
    return time.perf_counter() - began


def scores(database: Path) -> dict[str, float]:
    with Gradebook(f"sqlite:///{database}") as gradebook:
        found: Any = gradebook.assignment_submissions(NAME)
        return {each.student_id: each.score for each in found}


def turns(folder: Path, submissions: int, rounds: int, jobs: int) -> None:
    submitted, out = folder / "submitted", folder / "grades"
    hand_in(submitted, submissions)
    course(folder)
    times: dict[str, list[float]] = {}
    for _ in tqdm(range(rounds), desc="rounds", leave=False):
        times.setdefault("nbgrader autograde", []).append(nbgrader(folder))
        for number in sorted({1, jobs}):
            shutil.rmtree(out, ignore_errors=True)
            seconds = run(ours(submitted, out, number), folder)
            times.setdefault(f"ours, --jobs {number}", []).append(seconds)
    slow = statistics.median(times["nbgrader autograde"])
    print("\n| | seconds | submissions a minute | ratio |\n|---|---:|---:|---:|")
    for name, values in times.items():
        seconds = statistics.median(values)
        print(f"| {name} | {seconds:.1f} | {60 * submissions / seconds:.0f} | {slow / seconds:.1f} |")
    theirs, our = scores(folder / "gradebook.db"), scores(out / "gradebook.db")
    same, mean = sum(theirs[student] == our[student] for student in theirs), statistics.mean(our.values())
    print(f"\nBoth give the same points to {same} of {len(theirs)} students, {mean:.1f} on average.")


def growth(folder: Path, sizes: list[int], jobs: int) -> None:
    print("\n| submissions | seconds | a submission [s] | its process [MiB] | all processes [MiB] |")
    print("|---:|---:|---:|---:|---:|")
    for size in sizes:
        submitted = folder / f"submitted {size}"
        hand_in(submitted, size)
        began, own, together = time.perf_counter(), 0, 0
        with subprocess.Popen(
            ours(submitted, folder / f"grades {size}", jobs), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            while process.poll() is None:
                together = max(together, processes.memory(process.pid))
                own = max(own, _peak(process.pid))
                time.sleep(0.5)
        if process.returncode:
            raise RuntimeError(f"grading {size} submissions failed")
        seconds = time.perf_counter() - began
        memory = f"{own / 2**20:.0f} | {together / 2**20:.0f}"
        print(f"| {size:,} | {seconds:.0f} | {seconds / size:.2f} | {memory} |", flush=True)


def _peak(process: int) -> int:
    """Bytes; 0 where it has ended meanwhile."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = ["turns", "growth"]
    parser.add_argument("--tables", nargs="+", choices=tables, default=tables)
    parser.add_argument("--submissions", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if "turns" in args.tables:
            turns(Path(folder), args.submissions, args.rounds, args.jobs)
        if "growth" in args.tables:
            growth(Path(folder), args.sizes, args.jobs)


if __name__ == "__main__":
    main()
