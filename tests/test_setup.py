"""course.py decides what to install and what to run, and where it can; environment.yml asks for the same packages."""

import ast
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """course.py in an empty folder. Commands are recorded, not run; `codes` and `outputs` are what they return."""
    spec = importlib.util.spec_from_file_location("course", ROOT / "course.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, path in {"ROOT": tmp_path, "VENV": tmp_path / ".venv"}.items():
        monkeypatch.setattr(module, name, path)
    monkeypatch.setattr(module, "PYTHON", module.VENV / "bin" / "python")
    monkeypatch.setattr(module, "STAMP", module.VENV / "installed.json")
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "constraints.txt").write_text("# a comment\n\nsoupsieve==4.1.2\ntorch==2.13.0  # why\ntriton==3; no\n")
    module.commands, module.codes, module.outputs = [], {}, {}  # pyright: ignore[reportAttributeAccessIssue]

    def run(command: list[str], folder: Path | None = None) -> int:
        module.commands.append(command)
        if "venv" in command:
            module.PYTHON.parent.mkdir(parents=True, exist_ok=True)
            module.PYTHON.write_text("")
        return module.codes.get(command[2] if command[2] in ("venv", "uv", "pip") else "other", 0)

    def captured(command: list[str]) -> tuple[int, str]:
        module.quiet.append(command)
        return next((answer for name, answer in module.outputs.items() if name in command), (0, ""))

    module.quiet = []  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module, "captured", captured)
    return module


def installed(course: ModuleType) -> list[str]:
    """What pip was asked to install, apart from pip itself."""
    return [command[-1] for command in course.commands if "pip" in command and command[-1] not in ("pip", "uv")]


def test_a_first_run_makes_the_environment_and_a_second_does_not(course: ModuleType) -> None:
    assert course.main(["test", "-k", "mla"]) == 0
    venv, upgrade, pip, pytest_command = course.commands
    assert venv[1:3] == ["-m", "venv"]
    assert "-c constraints.txt" in " ".join(upgrade) and upgrade[-2:] == ["--upgrade", "pip"]
    assert "-c constraints.txt" in " ".join(pip) and pip[-4:] == ["--only-binary", ":all:", "-e", ".[test]"]
    parallel = [f"--numprocesses={(os.cpu_count() or 1) + 1}", "--dist=loadfile", "--no-loadscope-reorder"]
    assert pytest_command[1:] == ["-m", "pytest", "--nbval", *parallel, "-k", "mla"]
    course.commands.clear()
    assert course.main(["params", "deepseek-v3"]) == 0
    assert [command[1:] for command in course.commands] == [["-m", "course_lib", "params", "deepseek-v3"]]


@pytest.mark.parametrize("file", ["pyproject.toml", "constraints.txt"])
def test_changed_dependencies_are_installed_again(course: ModuleType, file: str) -> None:
    course.main(["lab"])
    (course.ROOT / file).write_text("torch==2.13.1")
    course.commands.clear()
    course.main(["lab"])
    assert [command[2] for command in course.commands] == ["pip", "pip", "course_lib"]


def test_a_command_that_needs_more_adds_to_what_is_there(course: ModuleType) -> None:
    for command, extras in (("params", "."), ("lab", ".[lab]"), ("test", ".[lab,test]"), ("lab", None)):
        course.commands.clear()
        course.main([command])
        assert installed(course) == ([extras] if extras else [])


def test_what_is_for_instructors_goes_to_the_grader(course: ModuleType) -> None:
    assert course.main(["release", "--check"]) == 0
    assert course.commands[-1][1:] == ["-m", "course_grader", "release", "--check"]
    assert installed(course) == [".[grade]"]
    assert course.main(["grade", "submitted", "--cluster", "tcp://10.0.0.1:8786"]) == 0
    assert course.main(["sweep", "balance", "--cluster=tcp://10.0.0.1:8786"]) == 0
    assert installed(course) == [".[grade]", ".[cluster,grade]"]


@pytest.mark.parametrize(("command", "inside"), [("lab", True), ("test", True), ("params", False), ("train", False)])
def test_only_lab_and_tests_leave_the_folder_of_the_user(
    course: ModuleType, monkeypatch: pytest.MonkeyPatch, command: str, inside: bool
) -> None:
    course.main([command])
    folders: list[Path | None] = []
    monkeypatch.setattr(course, "run", lambda command, folder: folders.append(folder) or 0)
    assert course.main([command]) == 0
    assert folders == [course.ROOT if inside else None]


@pytest.mark.parametrize(
    ("command", "given", "policy"),
    [("train", {}, "PASSIVE"), ("bench", {}, None), ("train", {"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")],
)
def test_threads_that_wait_leave_the_cores_to_others_except_in_a_benchmark(
    course: ModuleType, monkeypatch: pytest.MonkeyPatch, command: str, given: dict[str, str], policy: str | None
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "environ", given)
        assert course.main([command]) == 0
    assert given.get("OMP_WAIT_POLICY") == policy


def test_the_repository_is_set_with_what_instructors_need(course: ModuleType) -> None:
    assert course.main(["colab", "ada/course"]) == 0
    assert course.commands[-1][1:] == ["-m", "course_grader.colab", "ada/course"]
    assert installed(course) == [".[grade]"]


def test_a_failed_installation_stops_and_is_tried_again(course: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    course.codes["pip"] = 7
    assert course.main(["lab"]) == 7
    assert "The installation failed" in capsys.readouterr().out
    course.codes.clear()
    course.commands.clear()
    assert course.main(["doctor"]) == 0
    assert installed(course) == [".[lab]"]  # what the interrupted command needed is not forgotten
    assert [command[2] for command in course.commands] == ["pip", "pip", "course_lib"]


def test_an_interrupted_installation_is_no_failure(course: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    for step in ("venv", "pip"):
        course.codes.clear()
        course.codes[step] = course.INTERRUPTED
        assert course.main(["lab"]) == course.INTERRUPTED
        said = capsys.readouterr().out
        assert "was interrupted. Run the command again" in said and "failed" not in said
    course.codes.clear()
    course.commands.clear()
    assert course.main(["lab"]) == 0
    assert [command[2] for command in course.commands] == ["pip", "pip", "course_lib"]


def test_an_environment_that_was_not_finished_is_made_again(course: ModuleType) -> None:
    course.codes["venv"] = 137  # killed while it was copying pip
    assert course.main(["lab"]) == 137 and course.PYTHON.exists()
    course.codes.clear()
    course.commands.clear()
    assert course.main(["lab"]) == 0
    assert [command[2] for command in course.commands] == ["venv", "pip", "pip", "course_lib"]


@pytest.mark.parametrize(
    "stamp",
    [
        b"", b'{"python": "3.1', b"null", b"[]", b"7", b'"text"', b"{}", b"\xff\xfe", b"\x00" * 40,
        b'{"extras": ["lab"]}',
        b'{"python": "3.12", "extras": "lab"}', b'{"python": "3.12", "extras": [["lab"]]}',
        b'{"python": "3.12", "extras": ["../x"]}', b'{"python": "3.12", "extras": null}',
        b'{"python": "3.12", "extras": [], "cpu": "yes"}',
    ],
)  # fmt: skip
def test_a_damaged_stamp_is_repaired(course: ModuleType, stamp: bytes) -> None:
    course.main(["lab"])
    whole = json.loads(course.STAMP.read_text())
    course.STAMP.write_bytes(stamp)
    course.commands.clear()
    assert course.main(["lab"]) == 0
    assert [command[2] for command in course.commands] == ["venv", "pip", "pip", "course_lib"]
    assert json.loads(course.STAMP.read_text()) == whole


def test_a_stamp_is_never_half_written(course: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    course.main(["lab"])
    before = course.STAMP.read_bytes()

    def full_disk(path: Path, text: str, encoding: str) -> None:
        path.write_bytes(text[: len(text) // 2].encode())
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(OSError, match="No space"):
        course.write_stamp({"python": "3.12", "extras": ["test"], "cpu": False})
    assert course.STAMP.read_bytes() == before


def test_another_python_makes_a_new_environment(course: ModuleType) -> None:
    course.main(["lab"])
    stamp = json.loads(course.STAMP.read_text())
    course.STAMP.write_text(json.dumps({**stamp, "python": "3.9.0"}))
    course.commands.clear()
    course.main(["lab"])
    assert [command[2] for command in course.commands] == ["venv", "pip", "pip", "course_lib"]


REFUSED = [
    ({"python": (3, 10)}, "needs Python 3.11 to 3.14, but .* is Python 3.10."),
    ({"python": (3, 6)}, "is Python 3.6."),
    ({"python": (2, 7)}, "is Python 2.7."),
    ({"python": (3, 15)}, "is Python 3.15."),
    ({"python": (4, 0)}, "is Python 4.0."),
    ({"implementation": "PyPy"}, "needs the standard CPython build, but .* is PyPy."),
    ({"implementation": "GraalVM"}, "is GraalVM."),
    ({"free_threaded": True}, "is the free-threaded build of CPython."),
    ({"bits": 32}, "needs a 64-bit Python, but .* is a 32-bit build."),
    ({"processor": "riscv64"}, "not on Linux with riscv64 processors."),
    ({"processor": "armv7l"}, "armv7l"),
    ({"c_library": "glibc 2.27"}, "needs glibc 2.28 or newer, but this system has glibc 2.27."),
    ({"c_library": " "}, "another C library, such as musl."),
    ({"c_library": "bionic 34.0"}, "this system has bionic 34.0."),
    ({"c_library": "musl 1.2"}, "this system has musl 1.2."),
    ({"system": "Darwin", "processor": "x86_64", "macos": "15.1"}, "this is macOS on Intel"),
    ({"system": "Darwin", "processor": "arm64", "macos": "13.6.9"}, "macOS 14 or newer .* this is macOS 13.6.9."),
    ({"system": "Windows", "processor": "ARM64", "build": "win-arm64"}, "this is a win-arm64 Python on ARM64."),
    ({"system": "Windows", "processor": "ARM64", "build": "win-amd64"}, "this is a win-amd64 Python on ARM64."),
    ({"system": "Windows", "processor": "AMD64", "build": "mingw_x86_64_ucrt_gnu"}, "mingw"),
    ({"system": "FreeBSD", "processor": "amd64"}, "this is FreeBSD."),
    ({"system": "CYGWIN_NT-10.0", "processor": "x86_64"}, "this is CYGWIN"),
    ({"system": "Android", "processor": "aarch64"}, "this is Android."),
    ({"system": "", "processor": ""}, "an unknown system"),
]
ACCEPTED = [
    {"python": (3, 14)},
    {"c_library": "glibc 2.28", "processor": "aarch64"},
    {"system": "Darwin", "processor": "arm64", "macos": "14.0", "c_library": " ", "build": "macosx-11.0-arm64"},
    {"system": "Darwin", "processor": "arm64", "macos": "26.1", "c_library": " ", "build": "macosx-10.13-universal2"},
    {"system": "Windows", "processor": "AMD64", "build": "win-amd64", "c_library": " "},
]


def machine(course: ModuleType, changes: dict[str, object]) -> tuple:
    debian = course.Machine((3, 11), "CPython", False, 64, "Linux", "linux-x86_64", "x86_64", "", "glibc 2.36")
    return debian._replace(**changes)


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_is_not_supported_is_refused_in_one_sentence(
    course: ModuleType, changes: dict[str, object], message: str
) -> None:
    said = course.python_problem(machine(course, changes))
    assert re.search(message, said)
    assert said.endswith(".") and not re.search(r"[.!?]\s", said)


@pytest.mark.parametrize("changes", ACCEPTED, ids=str)
def test_what_is_supported_is_accepted(course: ModuleType, changes: dict[str, object]) -> None:
    assert course.python_problem(machine(course, changes)) is None


def test_this_machine_is_described(course: ModuleType) -> None:
    assert course.python_problem() is None
    assert course.HERE.python == sys.version_info[:2] and course.HERE.bits == 64


def test_an_old_python_reaches_the_message() -> None:
    """It must be able to read the file, and stop at the message before it runs what is too new for it."""
    source = (ROOT / "course.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 7))
    pretend = f"import sys; sys.version_info = (3, 6, 9); exec(compile({source!r}, 'course.py', 'exec'))"
    result = subprocess.run([sys.executable, "-c", pretend, "lab"], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == f"This course needs Python 3.11 to 3.14, but {sys.executable} is Python 3.6.\n"
    read_first = source[: source.index("sys.exit(python_problem())")]
    modern = re.findall(r"(?:->|:) (?:[\w.]+ \| [\w.]+|(?:list|dict|tuple)\[.*?\])(?= =|:|,|\)|$)", read_first)
    assert modern == []  # annotations that Python 3.6 would stop at are quoted


def test_nothing_is_made_where_the_course_cannot_run(
    course: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(course, "python_problem", lambda: "Not here.")
    assert course.main(["lab"]) == 1
    assert course.commands == [] and not course.VENV.exists() and capsys.readouterr().err == "Not here.\n"


def test_a_python_without_venv_is_told_what_to_install(course: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "sudo apt install python3.12-venv" in course.venv_problem((3, 12))
    assert course.main(["lab"]) == 1
    assert course.commands == []


def test_an_unknown_command_installs_nothing(course: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert course.main(["lba"]) == course.USAGE
    assert course.commands == [] and "Unknown command 'lba'. Commands: lab, doctor, params" in capsys.readouterr().err


@pytest.mark.parametrize("system", ["Windows", "Darwin"])
def test_grading_needs_linux(course: ModuleType, system: str) -> None:
    assert re.search(f"Grading needs Linux, .*; this is {system}", course.command_problem("grade", system))
    assert course.command_problem("release", system) is None
    assert course.command_problem("grade", "Linux") is None


def test_a_full_disk_is_noticed_before_the_installation(
    course: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(course.shutil, "disk_usage", lambda path: SimpleNamespace(free=0.5e9))
    assert course.main(["lab"]) == 1
    assert course.commands == [] and "Only 0.5 GB of disk space are free" in capsys.readouterr().out


SOUPSIEVE = """\
ERROR: Ignored the following versions that require a different python version: 4.1.1 Requires-Python >=3.11.5; 4.1.2 Requires-Python >=3.11.5,!=3.12.0
ERROR: Could not find a version that satisfies the requirement soupsieve==4.1.2 (from versions: 2.9, 2.10)
ERROR: No matching distribution found for soupsieve==4.1.2
"""  # noqa: E501  (what pip 26.3 says)


def test_a_pin_without_a_match_is_named_before_pip_searches(
    course: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    course.outputs["soupsieve==4.1.2"] = (1, SOUPSIEVE)
    assert course.main(["lab"]) == 1
    assert installed(course) == []
    assert course.commands[-1][-2:] == ["--upgrade", "pip"], "an old one says less"
    every, one = course.quiet
    assert every[-2:] == ["soupsieve==4.1.2", "torch==2.13.0"] and "--no-deps" in every and "-c" not in every
    assert one[-1] == "soupsieve==4.1.2"
    said = capsys.readouterr().out
    assert "constraints.txt pins soupsieve==4.1.2, which needs Python >=3.11.5,!=3.12.0; this is Python 3.1" in said
    course.outputs["soupsieve==4.1.2"] = (1, SOUPSIEVE.partition("\n")[2])
    assert course.main(["lab"]) == 1
    assert "soupsieve==4.1.2, which has no wheel for this Python and system" in capsys.readouterr().out


def test_a_network_that_is_down_is_not_blamed_on_a_pin(course: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    course.outputs["soupsieve==4.1.2"] = (1, f"WARNING: Retrying after connection broken by DNS\n{SOUPSIEVE}")
    assert course.main(["lab"]) == 1
    said = capsys.readouterr().out
    assert installed(course) == [] and "connection broken" in said and "constraints.txt pins" not in said


def on_linux(course: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(course, "HERE", machine(course, {}))


def test_the_cpu_build_is_installed_first_and_remembered(course: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    on_linux(course, monkeypatch)
    course.outputs["torch==2.13.0+cpu"] = (1, "")  # pip does not find it
    assert course.main(["lab", "--cpu", "--no-browser"]) == 0
    first, second = (i for i, command in enumerate(course.commands) if command[-1] in ("torch==2.13.0+cpu", ".[lab]"))
    uv = course.commands[first]
    assert first < second and uv[1:5] == ["-m", "uv", "pip", "install"] and "--torch-backend=cpu" in uv
    assert uv[uv.index("--python") + 1] == str(course.PYTHON)
    assert course.commands[first - 1][-1] == "uv" and "-c" in course.commands[first - 1]
    assert course.commands[-1][1:] == ["-m", "course_lib", "lab", "--no-browser"]
    assert not any("://" in word or ".org" in word for command in course.commands for word in command)
    course.commands.clear()
    assert course.main(["test"]) == 0  # without the option
    assert [command[2] for command in course.commands] == ["pip", "pip", "uv", "pip", "pytest"]


def test_a_cpu_build_that_pip_finds_needs_no_uv(course: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    on_linux(course, monkeypatch)
    assert course.main(["--cpu", "lab"]) == 0
    assert [command[2] for command in course.commands] == ["venv", "pip", "pip", "course_lib"]
    assert course.quiet[-1][-1] == "torch==2.13.0+cpu"


def test_an_index_out_of_reach_is_explained(
    course: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_linux(course, monkeypatch)
    course.outputs["torch==2.13.0+cpu"], course.codes["uv"] = (1, ""), 2
    assert course.main(["lab", "--cpu"]) == 2
    assert "could not be installed from PyTorch's own package index" in capsys.readouterr().out
    assert installed(course) == ["torch==2.13.0+cpu"]


@pytest.mark.parametrize(("version", "steps"), [("2.13.0", ["venv", "pip", "pip"]), ("2.13.0+cpu", ["pip", "pip"])])
def test_a_cuda_build_is_replaced_in_a_new_environment(
    course: ModuleType, monkeypatch: pytest.MonkeyPatch, version: str, steps: list[str]
) -> None:
    on_linux(course, monkeypatch)
    course.main(["lab"])
    (course.VENV / f"lib/python3.11/site-packages/torch-{version}.dist-info").mkdir(parents=True)
    course.commands.clear()
    assert course.main(["lab", "--cpu"]) == 0
    assert [command[2] for command in course.commands] == [*steps, "course_lib"]


def test_a_cpu_installation_that_was_interrupted_goes_on_where_it_was(
    course: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_linux(course, monkeypatch)
    course.codes["pip"] = course.INTERRUPTED
    assert course.main(["lab", "--cpu"]) == course.INTERRUPTED
    course.codes.clear()
    course.commands.clear()
    assert course.main(["lab", "--cpu"]) == 0
    assert [command[2] for command in course.commands] == ["pip", "pip", "course_lib"]


def test_elsewhere_the_ordinary_build_is_for_cpus(course: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(course, "HERE", machine(course, {"system": "Darwin"}))
    assert course.main(["lab", "--cpu"]) == 0
    assert installed(course) == [".[lab]"] and not any("+cpu" in command[-1] for command in course.quiet)


@pytest.mark.parametrize(
    ("command", "code", "imports", "advice"),
    [
        ("doctor", 1, 1, True),  # a traceback
        ("doctor", 132, -4, True),  # an illegal instruction: a PyTorch for another processor
        ("doctor", 139, 1, True),
        ("doctor", 1, 0, False),  # `doctor | head`: everything can be imported
        ("doctor", 137, 0, False),  # killed
        ("doctor", 2, 1, False),  # a wrong option
        ("doctor", 130, 1, False),  # Ctrl-C
        ("doctor", 0, 1, False),
        ("params", 1, 1, False),
    ],
)
def test_only_a_broken_installation_is_to_be_deleted(
    course: ModuleType, capsys: pytest.CaptureFixture[str], command: str, code: int, imports: int, advice: bool
) -> None:
    course.codes["other"], course.outputs["import course_lib.__main__, torch"] = code, (imports, "")
    assert course.main([command]) == code
    assert ("delete the folder .venv" in capsys.readouterr().out) == advice


def real(name: str) -> ModuleType:
    """course.py as it is."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "course.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(os.name == "nt", reason="signals as Linux and macOS have them")
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("pass", 0),
        ("raise SystemExit(2)", 2),
        ("import os, signal; os.kill(os.getpid(), signal.SIGINT)", 130),
        ("import os, signal; signal.signal(2, signal.SIG_DFL); os.kill(os.getpid(), signal.SIGINT)", 130),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137),
    ],
)
def test_exit_codes_mean_the_same_everywhere(code: str, expected: int, capfd: pytest.CaptureFixture[str]) -> None:
    course = real("course_exit")
    assert course.run([sys.executable, "-c", code]) == expected
    assert course.captured([sys.executable, "-c", code])[0] == expected


@pytest.mark.skipif(os.name == "nt", reason="signals as Linux and macOS have them")
@pytest.mark.parametrize(("how", "code", "said"), [("run", 3, "130"), ("captured", 3, "(130, "), ("run", 0, "0")])
def test_ctrl_c_reaches_the_command_and_is_waited_for(how: str, code: int, said: str) -> None:
    """As from a keyboard, it goes to course.py and to the command, which ends in its own way, with that code."""
    command = f"import sys, time\ntry: print(flush=True); time.sleep(60)\nexcept KeyboardInterrupt: sys.exit({code})"
    script = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background may ignore it
sys.path.insert(0, {str(ROOT)!r})
import course
print("started", flush=True)
print(course.{how}([sys.executable, "-c", {command!r}]))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout and process.stdout.readline() == "started\n"
    if how == "run":
        process.stdout.readline()
    else:
        time.sleep(2)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert output.startswith(said)


def test_every_command_that_is_explained_is_one(course: ModuleType) -> None:
    assert sorted(re.findall(r"python3 course\.py (\w+)", course.__doc__ or "")) == sorted(course.NEEDS)


def test_without_arguments_it_explains_itself() -> None:
    result = subprocess.run([sys.executable, ROOT / "course.py"], capture_output=True, text=True)
    assert result.returncode == 0
    assert "python3 course.py lab" in result.stdout and "python3 course.py test" in result.stdout


def test_conda_asks_for_what_pip_asks_for() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    extras = ",".join(project["optional-dependencies"])
    assert pip == ["-c constraints.txt", f"-e .[{extras}]"]
    python = next(entry for entry in environment["dependencies"] if str(entry).startswith("python="))
    assert python.removeprefix("python=") in project["requires-python"]


def test_binder_installs_from_a_copy_of_the_whole_repository() -> None:
    """repo2docker copies all first where a pip line names a local file, and prefers these to environment.yml."""
    files = {path.name for path in ROOT.iterdir()}
    assert {"environment.yml", "constraints.txt", "pyproject.toml"} <= files
    assert files.isdisjoint({"binder", ".binder", "Dockerfile"})


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names(requirements: list[str]) -> set[str]:
    return {str(canonicalize_name(Requirement(each).name)) for each in requirements} - {"deepseek-course"}


def test_every_dependency_is_pinned_once_and_no_pin_has_an_address() -> None:
    pins = real("course_pins").read_pins()
    assert all(re.fullmatch(r'[\w.-]+==[\w.]+(; sys_platform == "(linux|win32|darwin)")?', pin) for pin in pins)
    assert "torch==2.13.0" in pins
    pinned = [canonicalize_name(Requirement(pin).name) for pin in pins]
    assert len(pinned) == len(set(pinned))
    wanted = names([*project()["dependencies"], *chain(*project()["optional-dependencies"].values())])
    assert wanted | {"pip", "uv"} <= set(pinned)


def test_ranges_include_what_colab_has() -> None:
    colab = {"torch": "2.11.0", "numpy": "2.1.3", "matplotlib": "3.10.0", "plotly": "5.24.1", "ipywidgets": "7.7.1"}
    colab["ipython"] = "7.34.0"
    ranges = {Requirement(each).name: Requirement(each).specifier for each in project()["dependencies"]}
    assert {name: version for name, version in colab.items() if version not in ranges[name]} == {}


def imported(package: str) -> set[str]:
    """Packages besides the standard library that a folder's modules import, by the names that pip gives them."""
    names_of = packages_distributions()
    found = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.partition(".")[0])
    own = {"course_lib", "course_grader", *(path.stem for path in (ROOT / package).rglob("*.py"))}
    return {
        str(canonicalize_name(names_of[name][0])) for name in found - own - sys.stdlib_module_names if name in names_of
    }


def test_extras_hold_what_is_imported_and_grade_nothing_more() -> None:
    base, extras = names(project()["dependencies"]), project()["optional-dependencies"]
    assert imported("course_lib") - base - {"distributed"} <= names(extras["lab"])  # dask[distributed] is for --cluster
    grade = names(extras["grade"])
    assert imported("course_grader") - base == grade
    assert extras["test"][0] == "deepseek-course[cluster,grade,lab]"


def test_the_matrix_fails_on_what_does_not_resolve_or_is_not_pinned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The script with two answers of uv, so that no network is needed; .ci/run has it ask for all of them."""
    spec = importlib.util.spec_from_file_location("resolve_pins", ROOT / ".ci" / "resolve_pins.py")
    assert spec is not None and spec.loader is not None
    matrix = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(matrix)
    pins = tmp_path / "pins.txt"
    pins.write_text("# why\nsoupsieve==2.10\nTyping_Extensions==4.16.0  # why\n")
    ask: list[list[str]] = []

    def uv(command: list[str], env: dict[str, str], input: str, **_: object) -> SimpleNamespace:
        ask.append(command)
        assert (env["MACOSX_DEPLOYMENT_TARGET"], input) == ("14.0", "pip\n")
        if command[command.index("--python-version") + 1] == "3.11.2":
            return SimpleNamespace(returncode=1, stdout="", stderr="soupsieve==4.1.2 depends on Python>=3.11.5\n")
        if "x86_64-pc-windows-msvc" in command:
            return SimpleNamespace(returncode=0, stdout="soupsieve==2.10\ncolorama==0.4.6\n", stderr="")
        both = "soupsieve==2.10\ntyping-extensions==4.16.0 ; python_version > '3'\n"
        return SimpleNamespace(returncode=0, stdout=both, stderr="")

    monkeypatch.setattr(matrix.subprocess, "run", uv)
    assert matrix.check(pins, "3.12.0", "Linux Arm") == ""
    assert matrix.check(pins, "3.12.0", "Windows x86-64") == "pins.txt does not pin colorama==0.4.6"
    assert matrix.check(pins, "3.11.2", "Linux Arm") == "soupsieve==4.1.2 depends on Python>=3.11.5"
    assert matrix.main([str(pins)]) == 1
    assert "FAILED\nsoupsieve==4.1.2 depends on" in capsys.readouterr().out
    assert len({tuple(command) for command in ask}) == 20
    assert all("--all-extras" in command and command[command.index("--only-binary") + 1] == ":all:" for command in ask)
