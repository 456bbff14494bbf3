"""The page that a student reads: everything is on it, nothing on it acts, and it can be read everywhere."""

import base64
import hashlib
import random
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from course_grader import colab, feedback, inert, listing, submissions
from course_grader.by_hand import Entered
from course_grader.records import Record
from course_grader.stopped import grouped
from course_lib.exercises import BANK
from tests.lab import CHROMIUM, chromium_page
from tests.records import ASSIGNMENT, CELLS, EVIL, NAMES, RELEASE, record


class Seen(HTMLParser):
    """The tags of a page with their attributes, its text, and the code on it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.code: list[str] = []
        self._open: list[str] = []
        self._text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag == "pre":
            self.code.append("")

    def handle_endtag(self, tag: str) -> None:
        while tag in self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "pre" in self._open:
            self.code[-1] += data
        elif "style" not in self._open:
            self._text.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self._text).split())

    def values(self, key: str) -> set[str | None]:
        return {attributes[key] for _, attributes in self.tags if key in attributes}


def seen(record: Record, entered: Mapping[str, Entered] | None = None) -> Seen:
    return Seen(feedback.page(record, RELEASE, entered or {}))


def with_code(earned: Mapping[str, float], code: Mapping[str, str]) -> Record:
    """Points by exercise, and a cell for each function."""
    made = record("ann")
    marks = [replace(mark, points=earned.get(mark.exercise, 0), found=mark.exercise in code) for mark in made.marks]
    return replace(made, marks=marks, cells=list(code.values()))


ALL = {name: exercise.points for name, exercise in BANK[ASSIGNMENT].items()}
RIGHT = {name: f"def {name}(*given):\n    return given" for name in ALL}
EVERYTHING = {name: Entered(1, 1, EVIL, look_again=True) for name in ALL}
EVIL_RECORD = replace(
    record("ann", earned=1, message=EVIL, problem=EVIL),
    cells=[*CELLS, f'def compress(): {EVIL}\n    """</pre><script>alert(1)</script>{{'],
    stopped=[EVIL, f"cell 4 stopped: {EVIL}", f"cell 6 stopped: ModuleNotFoundError: No module named '{EVIL}'"],
)

# Nothing acts ----------------------------------------------------------------------------------------------------

WORDS = "html head meta title style body h1 h2 h3 p bdi div svg rect table tbody tr th td a code span section aside"
TAGS = {*WORDS.split(" "), "strong", "pre", "ol", "ul", "li", "wbr", "details", "summary"}
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class", "scope", "href", "id", "dir"}
ATTRIBUTES |= {"viewbox", "preserveaspectratio", "aria-hidden", "x", "width", "height", "tabindex"}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_on_a_page_acts(name: str) -> None:
    text = feedback.page(replace(EVIL_RECORD, student=name), RELEASE, EVERYTHING)
    page = Seen(text)
    assert {tag for tag, _ in page.tags} <= TAGS
    assert {key for _, attributes in page.tags for key in attributes} <= ATTRIBUTES
    assert page.values("href") == {"#top", *(f"#{each}" for each in BANK[ASSIGNMENT])}
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\ud800-\udfff]", text)
    assert " ".join(inert.plain(name).split()) in page.text
    text.encode("utf-8")


def test_a_page_forbids_scripts_and_allows_its_own_style_only() -> None:
    page = feedback.page(record("ann"), RELEASE, {})
    (policy,) = (a["content"] for tag, a in Seen(page).tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}';" in policy
    assert page.index("Content-Security-Policy") < page.index("<title>"), "it holds for what comes after it"
    assert "http:" not in page and "https:" not in page and "url(" not in page


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium or Chrome here")
def test_in_a_browser_a_page_fits_and_nothing_runs(tmp_path: Path) -> None:
    code = f"def rotate(x):\n{' ' * 60}return '{'W' * 300}', {'very_long_name * ' * 40}1"
    made = replace(EVIL_RECORD, student="W" * 200, cells=[*EVIL_RECORD.cells, code])
    (tmp_path / "page.html").write_text(feedback.page(made, RELEASE, EVERYTHING), encoding="utf-8")
    noise: list[str] = []
    with chromium_page() as page:
        page.on("console", lambda message: noise.append(message.text))
        page.on("dialog", lambda dialog: noise.append(dialog.message))
        page.on("request", lambda request: noise.append(request.url) if "page.html" not in request.url else None)
        page.goto((tmp_path / "page.html").as_uri())
        for media, width in (("screen", 375), ("screen", 1000), ("print", 658)):  # A4 without its margins
            page.emulate_media(media="print" if media == "print" else "screen")
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (media, width)
            inside = "all => all.every(each => each.scrollWidth <= each.clientWidth)"
            assert page.locator("pre").evaluate_all(inside) == (media == "print"), (media, width)
        line = page.locator("pre span.i24").first  # wraps to the right of where it begins
        edges = "each => [...each.getClientRects(), ...each.querySelector('span').getClientRects()].map(r => r.left)"
        assert len(set(line.evaluate(edges))) > 1
    assert noise == []


# What it says ----------------------------------------------------------------------------------------------------


def test_a_page_shows_points_messages_headings_and_the_students_own_code() -> None:
    page = seen(replace(record("ann", earned=2, message="wanted `x`, " + EVIL), attempt=2))
    assert (
        "hw1: latent attention, built by you ann · attempt 2" in page.text
        and "ann · attempt 1" in seen(record("ann")).text
    )
    assert "5 of 20 points" in page.text
    assert "rotate 2. Where a token stands ✓ right 3 of 3 points" in page.text
    assert "Case 1 of 4: wanted x, " + inert.plain(EVIL) in page.text
    assert page.code == ["def rotate(x, positions, theta):\n    return x\n"]


def test_bars_are_as_long_as_the_points() -> None:
    made = with_code({**ALL, "rotate": 1.5, "compress": 0}, RIGHT)
    text = feedback.page(made, RELEASE, {"kv_cache_elements": Entered(5), "absorbed_attention": Entered(-1)})
    bars = dict(re.findall(r'href="#(\w+)".*?\n<td>(.*?)</td>', text))
    widths = {name: re.findall(r'class="(\w+)" x="0.00" width="([\d.]+)"', bar) for name, bar in bars.items()}
    track = ("track", "100.00")
    assert widths["rotate"] == [track, ("some", "50.00")] and widths["compress"] == [track]
    assert widths["expanded_attention"] == [track, ("all", "100.00")]
    assert widths["kv_cache_elements"] == [track, ("all", "100.00")], "more than all points"
    assert widths["absorbed_attention"] == [track], "less than none"


def test_what_a_person_entered_counts_and_is_told_from_the_graders_mark() -> None:
    entered = {
        "rotate": Entered(2.5, 0.25, "Nearly: mind `theta`.\nSee me. <b>"),
        "compress": Entered(1, look_again=True),
        "kv_cache_elements": Entered(comment="Well done."),
    }
    page = seen(with_code({"kv_cache_elements": 2}, RIGHT), entered)
    assert "5.75 of 20 points" in page.text and "2. Where a token stands ◐ partly right 2.75 of 3" in page.text
    assert "The grader gave 0 of 3 points: Case 1 of 4" in page.text
    mine = "From your instructor 2.5 of 3 points, instead of the grader's 0. Extra credit: +0.25 points."
    assert f"{mine} Nearly: mind theta. See me. <b>" in page.text
    assert "instead of the grader's 0. This was entered for an earlier version of your work" in page.text
    assert (
        "Right" not in page.text and "Revise rotate" not in page.text and "From your instructor Well done." in page.text
    )
    assert "The grader gave 2" not in page.text, "nobody changed that"
    assert "From your instructor" not in seen(with_code(ALL, RIGHT)).text


def test_what_to_do_next_begins_with_what_others_need() -> None:
    code = {
        **RIGHT,
        "kv_cache_elements": "def kv_cache_elements(c):\n    # rotate\n    return compress(c)",
        "compress": "def compress(x):\n    return rotate(x)\nabsorbed_attention()",
        "attention_flops": "def attention_flops():\n    raise NotImplementedError",
    }
    del code["absorbed_attention"]
    page = seen(with_code({"expanded_attention": 4}, code))
    steps = re.search(r"What to do next (.*?) Run check on each function", page.text)
    assert steps and steps[1] == (
        "Fix rotate before compress, which calls it: as it should be. "
        "Fix compress before kv_cache_elements, which calls it: as it should be. "
        "Fix kv_cache_elements: as it should be. Write absorbed_attention and attention_flops."
    )
    right_by_hand = seen(with_code({"expanded_attention": 4}, code), {"rotate": Entered(3)})
    assert "Fix rotate" not in right_by_hand.text
    lowered = seen(with_code(ALL, RIGHT), {"rotate": Entered(1)})
    assert "Revise rotate: your instructor gave other points" in lowered.text and "Fix" not in lowered.text


@pytest.mark.parametrize(("message", "clause"), [
    ("It ignores the `theta` it is given.", "it ignores the `theta` it is given"),
    ("This matches a key that is not rotated: without a position", "its answers match a key that is not rotated"),
    ("It did not run on case 1 of 3: RuntimeError. The line: `x`.", "it did not run on case 1 of 3: RuntimeError"),
    ("`rotate` is not defined because cell 8 stopped: ValueError: bad.",
     "`rotate` is not defined because cell 8 stopped: ValueError: bad"),
    ("It raised a RuntimeError on case 1 of 3. Run `check(rotate)`.", "it raised a RuntimeError on case 1 of 3"),
    ("Wrong values on case 1 of 3.", "wrong values on case 1 of 3"),
    ("Case 1 of 3: wanted a tensor of shape (2, 3), got one of shape (3, 2)",
     "wanted a tensor of shape (2, 3), got one of shape (3, 2)"),
    ("Case 2 of 5: wanted 7.5, got 8.", "wanted 7.5, got 8"),
    ("The values are right. But all keys are made: fold w_uk.", "all keys are made"),
    ("MLA has no keys; it has latents.", "MLA has no keys"),
    ("x" * 50 + " " + "y" * 100, "x" * 50 + " ..."),
    ("", ""),
])  # fmt: skip
def test_what_to_do_next_says_what_is_wrong(message: str, clause: str) -> None:
    assert feedback._clause(message) == clause


def blamed(
    earned: Mapping[str, float], code: Mapping[str, str], message: str = "Case 1 of 3: wrong",
    lent: list[str] | None = None,
) -> list[str]:  # fmt: skip
    """Functions that a section names as the possible reason."""
    made = with_code(earned, {**RIGHT, **code})
    text = seen(replace(made, marks=[replace(mark, message=message, lent=lent or []) for mark in made.marks])).text
    return re.findall(r"It calls your (.*?), which (?:is|are) not right yet", text)


def test_only_a_function_that_was_not_lent_can_be_the_reason() -> None:
    caller = {"compress": "def compress(x):\n    return rotate(x)"}
    assert blamed({}, caller) == [], "compress was judged with the course's rotate, if it called any"
    assert blamed({"rotate": 1.5}, caller) == ["rotate"], "what earns points is not lent"
    assert blamed({"rotate": 1.5}, caller, lent=["rotate"]) == []
    assert blamed({}, {"rotate": "def rotate(x):\n    return compress(x)"}) == ["compress"], "it is further down"
    same = {"absorbed_attention": "def absorbed_attention(*x):\n    return expanded_attention(*x)"}
    assert blamed({}, same) == [], "the judge says so itself"
    both = {"rotate": "def rotate(x):\n    return compress(x) + attention_flops(x)"}
    assert blamed({}, both) == ["compress and attention_flops"]
    for error in (
        "It did not run on case 1 of 3: RuntimeError.",
        "It raised a RuntimeError on case 1.",
        "It raised an X",
    ):
        assert blamed({"rotate": 1.5}, caller, error) == []


def test_functions_that_call_each_other_have_an_end() -> None:
    code = {"rotate": "def rotate(x):\n    return compress(x)", "compress": "def compress(x):\n    return rotate(x)"}
    text = seen(with_code({}, code)).text
    assert "Fix rotate before compress, which calls it: " in text and "Fix compress before rotate" in text


def test_if_all_is_right_there_is_nothing_to_do() -> None:
    page = seen(replace(with_code(ALL, RIGHT), stopped=["cell 3 stopped: ModuleNotFoundError: no `pandas`"]))
    assert "20 of 20 points" in page.text and "there is nothing left to do" in page.text
    assert "cost no points. (Only code cells are counted, from the top.) Cell 3 def compress" in page.text
    assert "What to do next" not in page.text and "Background" not in page.text


def test_cells_that_stopped_come_first() -> None:
    page = seen(
        replace(record("ann"), stopped=["cell 3 stopped: NameError", "cell 9 took too long", "most cells hang"])
    )
    assert "What to do next These cells stopped while grading. Functions that use what they define fail" in page.text
    assert "Cell 3 helper = '</pre><script>alert(1)</script>' stopped: NameError" in page.text
    assert "Cell 9 took too long Most cells hang" in page.text, "there is no cell 9 to show"


def test_what_follows_from_a_stopped_cell_is_folded_and_so_are_many() -> None:
    cells = ["# data\nimport pandas as pd", "x = pd.read()", "y = x + 1", "1/0", "x_ = 1", "z", "open('a')", "assert 0"]
    said = [
        "ModuleNotFoundError: No module named 'pandas.io'",
        *(f"NameError: name '{n}' is not defined" for n in "px"),
    ]
    said[1] = said[1].replace("'p'", "'pd'")
    said += ["ZeroDivisionError", "KeyError", "NameError: name 'an' is not defined", "OSError", "AssertionError: "]
    stopped = [f"cell {number} stopped: {each}" for number, each in enumerate(said, 1)]
    found = grouped(stopped, cells)
    assert [(each.cell, [later.cell for later in each.later]) for each in found] == [
        (1, [2, 3]), (4, []), (5, []), (6, []), (7, []), (8, [])
    ]  # fmt: skip
    assert found[-1].message == "stopped: AssertionError"
    assert found[0].message == (
        "stopped: `pandas` is not available where notebooks are graded. Remove the import if no graded function needs "
        "it, or ask your instructor to add it."
    )
    page = seen(replace(record("ann"), cells=cells, stopped=stopped))
    assert "Cell 1 # data stopped: pandas is not available" in page.text
    assert "2 later cells stopped because of this Cell 2 x = pd.read() stopped: NameError" in page.text
    assert "Cell 5 x_ = 1 stopped: KeyError 3 more Cell 6 z" in page.text
    assert [tag for tag, _ in page.tags].count("details") == 2
    assert all("open" not in attributes for tag, attributes in page.tags if tag == "details")


def test_a_mistake_is_explained_in_a_lesson(monkeypatch: pytest.MonkeyPatch) -> None:
    background = "See part 2 of the notebook. Background: lesson 2, section “Position spoils it”."
    assert background in seen(record("ann")).text
    assert feedback._reading(ASSIGNMENT, record("ann").marks[1], "No number").startswith("<p>Background: lesson 2")
    section = BANK["hw1_mla"]["rotate"].lesson
    monkeypatch.setattr(colab, "repository", lambda: "ann/course")
    links = seen(record("ann")).values("href")
    assert f"https://github.com/ann/course/blob/main/notebooks/{section.notebook}.ipynb#Position-spoils-it" in links
    assert all(str(link).startswith(("#", "https://github.com/ann/course/blob/main/notebooks/0")) for link in links)


def test_a_named_mistake_may_have_a_section_of_its_own() -> None:
    named = [(name, each) for name in ALL for each in BANK[ASSIGNMENT][name].misconceptions if each.lesson]
    name, mistake = named[0]
    assert mistake.lesson and mistake.lesson != BANK[ASSIGNMENT][name].lesson
    made = with_code({**ALL, name: 0}, RIGHT)
    made = replace(made, marks=[replace(mark, message=f"Case 2 of 3: {mistake.message}") for mark in made.marks])
    assert f"section “{mistake.lesson.heading}”" in seen(made).text


def test_a_notebook_that_could_not_be_graded_says_why_and_has_no_dead_links() -> None:
    page = seen(replace(record("ann", problem="The file is `empty`."), cells=[]))
    assert "Your notebook could not be graded The file is empty." in page.text
    assert "Check that this is the right file" in page.text and "Case 1" not in page.text
    assert "Not graded It counts as 0 of 20 points until" in page.text and "not right" not in page.text
    assert page.values("href") == set() == page.values("id")
    other = seen(record("ann", problem="It defines none of the functions."))
    assert other.values("href") == {"#top", *(f"#{name}" for name in other.values("id"))} != {"#top"}
    failed = seen(replace(record("ann", problem="It could not be marked."), digest=""), {"rotate": Entered(3)}).text
    assert "need not do anything" in failed and "compress – not graded" in failed and "rotate ✓ right 3 of 3" in failed
    assert "✗" not in failed and "Background" not in failed
    kept = seen(replace(record("ann", earned=2, problem="The file is empty."), unread=True)).text
    assert "Your new file could not be graded" in kept and "5 of 20 points" in kept
    assert "What to do next Check that this is the right file" in kept and "Write compress" in kept


def test_a_student_of_whom_two_files_arrived_need_not_do_anything(tmp_path: Path) -> None:
    for name in "ann.ipynb", "ann/hw1_mla/hw1_mla.ipynb":
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    (submission,) = submissions.collect(tmp_path, ASSIGNMENT)
    page = seen(replace(record("ann", problem=submission.problem), digest="", cells=[]))
    assert "Your instructor has to choose one; you need not do anything." in page.text
    assert "ann.ipynb" not in page.text and "What to do next" not in page.text and "those of" not in page.text
    kept = seen(replace(record("ann", earned=2, problem=submission.problem), unread=True)).text
    assert "need not do anything. The points are those of attempt 1. 5 of 20 points" in kept


def test_one_point_is_not_one_points() -> None:
    ann = record("ann")
    one = replace(ann, marks=[replace(ann.marks[0], of=1)])
    page = seen(one, {ann.marks[0].exercise: Entered(0.5, 1)}).text
    assert "of 1 point " in page and "+1 point." in page and "1 points" not in page


def test_the_code_of_right_functions_is_folded() -> None:
    text = feedback.page(with_code({"rotate": 3}, RIGHT), RELEASE, {})
    assert re.findall(r"<summary>Your code</summary>\n<pre.*?<span class=\"nf\">(\w+)", text) == ["rotate"]
    assert text.count("<pre") == len(RIGHT)


def test_code_that_was_not_found_is_not_called_missing() -> None:
    made = with_code({"rotate": 3}, {})
    text = seen(replace(made, cells=["exec(source)"])).text
    assert text.count("The cell that defines it was not recognized") == 1 and "No cell" not in text


def test_a_page_is_made_again_only_if_something_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Record] = []
    page, ann = feedback.page, record("ann")
    monkeypatch.setattr(feedback, "page", lambda *given: made.append(given[0]) or page(*given))
    entered = {"rotate": Entered(2, comment="well")}
    for each, changed in [
        ((ann, {}), True), ((ann, {}), False), ((ann, entered), True), ((ann, entered), False),
        ((ann, {"rotate": Entered(2, comment="well done")}), True), ((replace(ann, cells=["x"]), entered), True),
        ((replace(ann, attempt=2), entered), True),
    ]:  # fmt: skip
        made.clear()
        feedback.write_feedback(tmp_path, each[0], RELEASE, each[1])
        assert bool(made) == changed, each
        assert (tmp_path / f"feedback/{ann.slug}.html").read_text(encoding="utf-8") == page(each[0], RELEASE, each[1])
    file = tmp_path / f"feedback/{ann.slug}.html"
    text = file.read_bytes()
    for damaged in text[:700], text.replace(b"</html>", b""), b"":
        file.write_bytes(damaged)
        feedback.write_feedback(tmp_path, each[0], RELEASE, each[1])
        assert file.read_bytes() == text
    made.clear()
    monkeypatch.setattr(feedback, "_sources", lambda: "another version of the course")
    feedback.write_feedback(tmp_path, each[0], RELEASE, each[1])
    assert len(made) == 1


def test_a_function_that_the_course_no_longer_has_is_shown_without_a_lesson() -> None:
    ann = record("ann")
    gone = replace(ann.marks[0], exercise="renamed_since")
    page = Seen(feedback.page(replace(ann, marks=[gone, *ann.marks[1:]]), RELEASE, {})).text
    assert "renamed_since" in page and page.count("Background: lesson") == len(ann.marks) - 1


@pytest.mark.parametrize(
    "file",
    ["course_grader/feedback.css", "course_lib/exercises/x.py", "assignments/release/a/a.ipynb", str(colab.BOOTSTRAP)],
)
def test_a_page_is_made_again_after_a_change_of_the_course(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback.colab, "ROOT", tmp_path)
    before = feedback._sources.__wrapped__()
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text("changed")
    assert feedback._sources.__wrapped__() != before


def test_a_link_to_a_lesson_survives_any_heading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback, "_lesson", lambda *_: ("03_x", 'Is "a#b" 5%?'))
    monkeypatch.setattr(feedback.colab, "repository", lambda: "a/b")
    assert "03_x.ipynb#Is-%22a%23b%22-5%25%3F" in feedback._reading(ASSIGNMENT, record("ann").marks[0], "")


# Code ------------------------------------------------------------------------------------------------------------


def text_of(html: str) -> str:
    return Seen(f"<pre>{html}</pre>").code[0]


def test_code_has_colours_and_keeps_its_indentation() -> None:
    html = listing.html('def f(x):\n\tif x:  # why\n        return """a\n  b < 1"""\n\n' + " " * 90 + "x")
    lines = html.split('</span><span class="i')
    assert [int(line.removeprefix('<span class="i').split('"')[0]) for line in lines] == [0, 4, 8, 2, 0, 24]
    assert '<span class="k">def</span>' in html and '<span class="nf">f</span>' in html
    assert '<span class="c1"># why</span>' in html and "  b &lt; 1" in html
    assert "&lt;b&gt;" in listing.html(" " * 300 + "<b>"), "without colours"
    assert text_of(html) == 'def f(x):\n    if x:  # why\n        return """a\n  b < 1"""\n\n' + " " * 90 + "x\n"


def test_any_code_is_shown_as_it_is() -> None:
    chance = random.Random(0)
    parts = [
        "'",
        '"""',
        "f'{",
        "\n",
        "\n\n",
        "  ",
        "\t",
        "def f(",
        "#",
        "\\",
        "<b>&",
        "é",
        "中",
        "%d",
        "}",
        "\u3000",
        "1e",
    ]
    for _ in range(300):
        code = inert.code("".join(chance.choices(parts, k=30)))
        plain = [line.rstrip() for line in code.expandtabs(4).split("\n")]
        assert text_of(listing.html(code)).split("\n") == [*plain, ""], repr(code)


@pytest.mark.parametrize("part", [" \n", " ", "\u3000", "case", "{", "'\\N{", "`$", "\t"])
@pytest.mark.parametrize("start", ["", "match ", "'", "def rotate(x):\n match "])
def test_no_code_takes_long_to_colour(start: str, part: str) -> None:
    code = inert.code(start + (part * 20_000)[:19_900] + "x")
    began = time.process_time()
    listing.html(code)
    listing.names(code, "rotate")
    assert time.process_time() - began < 1.5  # with a quadratic lexer, 5


def test_what_a_function_mentions() -> None:
    code = "def f(x):\n    return g(x)\n\ndef g(x):\n    return h\n\nf = lambda x: (\n    h(x),\n)\nk()"
    assert listing.names(code, "g") == {"g", "x", "h"}
    assert listing.names(code, "f") == {"f", "x", "h"}, "the last definition counts"
    assert listing.names(code, "nobody") == frozenset()
    inside = "if True:\n    def f(x):\n        # k\n        return g('k', x)\n    k()\n"
    assert listing.names(inside, "f") == {"f", "x", "g"}


# Colours ---------------------------------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    digits = colour.removeprefix("#")
    parts = (
        [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)] if len(digits) == 6 else [int(d, 16) / 15 for d in digits]
    )
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_every_colour_can_be_read_in_both_themes() -> None:
    light, dark = (dict(re.findall(r"--(\w+): (#\w+)", part)) for part in feedback.STYLE.split("@media screen")[:2])
    assert set(light) == set(dark)
    for theme in (light, dark):
        for ground in (theme["page"], theme["card"]):
            for name in set(theme) - {"page", "card", "line", "track"}:
                bright, deep = sorted((luminance(theme[name]), luminance(ground)), reverse=True)
                assert (bright + 0.05) / (deep + 0.05) >= 4.5, (name, ground)
