"""The wall, seen from inside: what a notebook's code can read and reach. What it sees comes out as an answer."""

import errno
import inspect
import os
import socket
import stat
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from course_grader import processes, release
from course_grader.sandbox import Limits, Sandbox, Session
from course_lib.exercises import BANK
from tests.hostile_probes import ASKED_TO_SEARCH, CONNECT, DESCRIPTORS, KILL, LEFT, READ, REFUSED, RISE, SEARCH, WRITE

pytestmark = pytest.mark.usefixtures("bubblewrap")
ROOT = Path(__file__).parents[1]
SECRET = "kept by the judge alone"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUDGES_SECRET", SECRET)
        with Sandbox(Limits(cell_seconds=60, call_seconds=60)) as box:
            yield box


def asked(sandbox: Sandbox, code: str, *arguments: Any) -> Any:
    """What `asked`, a function that the code defines, answers."""
    session: Session = sandbox.open([(0, code)])
    try:
        while "ready" not in (message := session.receive(60)):
            assert not message.get("error"), message
        session.begin("asked")
        reply = session.ask({"arguments": list(arguments)})
        assert "answer" in reply, reply
        return reply["answer"]
    finally:
        session.close()


# What there is to read -----------------------------------------------------------------------------------------------


def distinctive() -> list[str]:
    """Lines of the modules of all references that no student has on the page."""
    pages = "\n".join(
        cell.source for path in release.sources().values() for cell in nbformat.read(release.target(path), 4).cells
    )
    references = [exercise.reference for assignment in BANK.values() for exercise in assignment.values()]
    files = {inspect.getsourcefile(reference) for reference in references}
    lines = {line.strip() for file in files if file for line in Path(file).read_text(encoding="utf-8").splitlines()}
    plain = ("#", "from ", "import ", "@", "generator = ", "return torch.", "torch.manual")  # what any program may have
    return sorted(x for x in lines if len(x) > 40 and x not in pages and not x.startswith(plain))


def modules() -> list[str]:
    return sorted(path.stem for path in (ROOT / "course_lib/exercises").glob("hw*.py"))


def known() -> list[str]:
    """Folders that the system and the packages of others fill, and the course never."""
    system = ["share", "include", "lib", "bin", "sbin", "libexec", "src"]
    library = Path(sys.base_prefix, "lib")
    packages = {Path(sysconfig.get_path("purelib")), Path(sysconfig.get_path("platlib"))}
    packages.update(library.glob("python3*/site-packages"))
    others = [x for folder in packages for x in folder.iterdir() if x.is_dir() and "course" not in x.name]
    return [*(f"/usr/{name}" for name in system), "/lib", "/lib64", str(library), *map(str, others)]


def test_no_line_of_a_reference_can_be_read(sandbox: Sandbox) -> None:
    lines, course = distinctive(), modules()
    assert len(lines) > 300 and len(course) > 20
    count, found = asked(sandbox, SEARCH + ASKED_TO_SEARCH, lines, course, known())
    assert [Path(path).name for path in found] == [f"{course[0]}.cpython-311.pyc", "notes"], "what was put there, alone"
    assert count > 50


def test_the_search_finds_references_where_they_are() -> None:
    names: dict[str, Any] = {}
    exec(SEARCH, names)
    search, none = names["search"], list[str]()
    by_line = search(str(ROOT / "course_lib"), distinctive(), none, set())[1]
    by_name = search(str(ROOT / "course_lib"), none, modules(), set())[1]
    assert {Path(path).stem for path in by_name} >= set(modules())
    assert len({Path(path).stem for path in by_line} & set(modules())) > 10


# What there is to reach ----------------------------------------------------------------------------------------------


def test_other_files_cannot_be_read(sandbox: Sandbox, tmp_path: Path) -> None:
    student, secret = tmp_path / "submitted/bob/hw1_mla/hw1_mla.ipynb", tmp_path / "grades/hw1_mla/secret"
    for path in (student, secret):
        path.parent.mkdir(parents=True)
        path.write_text("bob's own")
    course = [ROOT / "course_lib/exercises/engine.py", ROOT / "assignments", ROOT / "course.py", ROOT / ".git"]
    system = ["/etc/shadow", "/etc/passwd", "/run", "/sys", *(["/proc/1/mem"] if sandbox.kind == "private" else [])]
    paths = [student, secret, *course, *system]
    assert set(asked(sandbox, READ, list(map(str, paths)))) <= {"FileNotFoundError", "PermissionError"}
    (real,) = asked(sandbox, READ, [str(Path(sysconfig.get_path("purelib"), "numpy/__init__.py"))])
    assert "NumPy" in real, "what may be read is read"


def test_the_judges_variables_are_not_there(sandbox: Sandbox) -> None:
    code = f"import os\ndef asked(): return [list(os.environ), {SECRET!r} in str(os.environ)]"
    names, leaked = asked(sandbox, code)
    assert os.environ.get("PATH") and "JUDGES_SECRET" not in names and not leaked and "PATH" in names


def test_there_is_no_network(sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind("\0the judge's own" + str(os.getpid()))
        abstract.listen()
        arguments = server.getsockname()[1], "the judge's own" + str(os.getpid())
        assert asked(sandbox, CONNECT, *arguments) == ["no", "no", "no", "no", True]
        names: dict[str, Any] = {}
        exec(CONNECT, names)
        assert names["asked"](*arguments)[:2] == ["connected", "connected"], "from here both are reached"


def test_nothing_but_tmp_can_be_written(sandbox: Sandbox) -> None:
    assert asked(sandbox, WRITE) == ["/tmp/mine"]


def test_nobody_becomes_more_than_they_are(sandbox: Sandbox) -> None:
    before, changed, umounted, shown = asked(sandbox, RISE)
    assert before[0] == before[1] and before[0] != 0 and before[2] == 1 and before[3] == [1, 1], "no core dumps"
    assert None not in changed
    assert umounted == [-1] * 4
    assert shown == [] or sandbox.kind != "private"


def test_calls_that_no_notebook_needs_are_refused(sandbox: Sandbox) -> None:
    refused = asked(sandbox, REFUSED)
    assert len(refused) == 7 and set(refused.values()) == {errno.EPERM}, refused
    os.close(os.memfd_create("from here it is given"))


def test_other_processes_are_not_there(sandbox: Sandbox) -> None:
    assert sandbox._process is not None
    judges = [pid for pid in (os.getpid(), os.getppid(), sandbox._process.pid) if pid > 300]  # its own begin at 1
    reached, own, shown = asked(sandbox, KILL, judges)
    assert reached == [] and own < 300 and (shown == [] or sandbox.kind != "private")


def test_of_descriptors_there_is_only_its_own_channel(sandbox: Sandbox) -> None:
    assert asked(sandbox, DESCRIPTORS) == [stat.S_IFSOCK]


def test_nothing_stays_for_the_next(sandbox: Sandbox) -> None:
    session = sandbox.open([(0, LEFT)])
    while "ready" not in session.receive(60):
        pass
    session.begin("asked")
    session.ask({"arguments": []})
    before = processes.tree(session.process)
    session.close()
    assert len(before) >= 3
    ends = time.monotonic() + 20
    while alive := [pid for pid in before if Path(f"/proc/{pid}").exists() and "Z" not in _state(pid)]:
        assert time.monotonic() < ends, alive
        time.sleep(0.02)
    places = {Path(each).parts[2] for each in (sys.prefix, sys.base_prefix, ROOT) if Path(each).parts[1] == "tmp"}
    assert set(asked(sandbox, "import os\ndef asked(): return os.listdir('/tmp')")) <= places


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
