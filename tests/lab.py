"""Drive notebooks as a student does: a JupyterLab of its own on loopback, and a Chromium found on the machine."""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Locator, Page, expect, sync_playwright

from course_grader.stored import QUIET
from course_lib.doctor import chromium
from course_lib.workspace import SETTINGS

CHROMIUM = chromium()
expect.set_options(timeout=30_000)  # on a busy machine
POLLING = 50  # ms; by default Chromium draws a frame for each look, on the cores that the kernel wants
# No name but loopback resolves, so a test cannot come to depend on the network.
FLAGS = ["--disable-gpu", "--disable-quic", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
FOLDERS = ["JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"]
FOLDERS += ["JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR"]


@dataclass(frozen=True)
class Lab:
    """A running server: its address, the key to it, and the folder it serves."""

    url: str
    token: str
    root: Path


@contextmanager
def jupyter_lab(home: Path, root: Path | None = None) -> Iterator[Lab]:
    """A server under `home` that shares no setting, workspace or kernel with the user's own. It serves `root`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lab = Lab(f"http://127.0.0.1:{port}", secrets.token_hex(), root or home / "root")
    folders = {name: home / name.lower() for name in FOLDERS}
    for folder in (lab.root, *folders.values()):
        folder.mkdir(parents=True, exist_ok=True)
    style = {"static_custom_path": str(SETTINGS / "custom")}
    config = {
        "ServerApp": {
            "ip": "127.0.0.1",
            "port": port,
            "port_retries": 0,
            "allow_root": True,
            "tornado_settings": style,
        },
        "IdentityProvider": {"token": lab.token},
        "LabApp": {"expose_app_in_browser": True, "open_browser": False, "custom_css": True},
    }
    (folders["JUPYTER_CONFIG_DIR"] / "jupyter_lab_config.json").write_text(json.dumps(config))
    news = folders["JUPYTERLAB_SETTINGS_DIR"] / "@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text('{"fetchNews": "false"}')  # or a pop-up asks
    environment = QUIET | os.environ | {name: str(folder) for name, folder in folders.items()}
    command = [sys.executable, "-m", "jupyterlab"]
    with (home / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, cwd=lab.root, stdout=log, stderr=log)
    try:
        if not answers(lab, server):
            raise RuntimeError(f"JupyterLab did not start:\n{(home / 'lab.log').read_text()}")
        yield lab
    finally:
        server.terminate()  # shuts its kernels down too
        server.wait(30)


def answers(lab: Lab, server: subprocess.Popen[bytes], seconds: float = 60) -> bool:
    """Whether the server answers before it ends and before the time is up."""
    deadline = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{lab.url}/api/status?token={lab.token}", timeout=5).close()
        except OSError:
            time.sleep(0.2)
        else:
            return True
    return False


@contextmanager
def chromium_window() -> Iterator[BrowserContext]:
    """Opens pages that share one cache, so that JupyterLab's code is loaded once."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)  # Playwright adds --no-sandbox
        yield browser.new_context(viewport={"width": 1280, "height": 1000})
        browser.close()


@contextmanager
def chromium_page() -> Iterator[Page]:
    with chromium_window() as window:
        yield window.new_page()


def open_notebook(page: Page, lab: Lab, notebook: Path) -> list[str]:
    """Open a copy of `notebook` and wait for its kernel. The list collects errors of the page from then on."""
    folder = Path(tempfile.mkdtemp(dir=lab.root))  # of its own, or Lab hands out the kernel of an earlier copy
    shutil.copy(notebook, folder)
    page.goto(f"{lab.url}/doc/tree/{folder.name}/{notebook.name}?token={lab.token}")
    wait_until_idle(page)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    return errors


def wait_until_idle(page: Page, seconds: float = 60) -> None:
    page.wait_for_function(
        """() => {
            const kernel = window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel;
            return kernel?.connectionStatus === 'connected' && kernel.status === 'idle';
        }""",
        timeout=1000 * seconds,
        polling=POLLING,
    )


def run_all(page: Page, seconds: float = 120) -> list[dict[str, Any]]:
    """Run all cells, wait for the last one, and give what they show."""
    run = "() => jupyterapp.commands.execute('notebook:run-all-cells').then(() => true)"
    page.wait_for_function(run, timeout=1000 * seconds, polling=POLLING)
    return shown(page)


def run_above(page: Page, start: str) -> None:
    """Run the cells above the one that begins with `start`: a page read that far."""
    show_cell(page, start).locator(".cm-content").click()
    page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-above'); }")
    wait_until_idle(page, 120)


def shown(page: Page) -> list[dict[str, Any]]:
    """Every output of the page, once the kernel rests. Fails with the errors among them."""
    wait_until_idle(page)
    notebook = page.evaluate("() => jupyterapp.shell.currentWidget.content.model.toJSON()")
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    errors = [f"{output['ename']}: {output['evalue']}" for output in outputs if output["output_type"] == "error"]
    assert not errors, errors
    return outputs


def show_cell(page: Page, start: str) -> Locator:
    """The cell whose source begins with `start`, scrolled to: Lab draws only the cells in sight."""
    index = page.evaluate(
        """async (start) => {
            const { content } = jupyterapp.shell.currentWidget;
            const index = content.widgets.findIndex((cell) => cell.model.sharedModel.source.startsWith(start));
            if (index >= 0) await content.scrollToItem(index, 'center');
            return index;
        }""",
        start,
    )
    assert index >= 0, f"no cell begins with {start!r}"
    return page.locator(f'.jp-Cell[data-windowed-list-index="{index}"]')


def rewrite_last_line(cell: Locator, line: str) -> None:
    """Click into the cell, select its last line up to the indent, and type over it."""
    cell.locator(".cm-content").click()
    for key in ("Control+End", "Shift+Home"):
        cell.page.keyboard.press(key)
    cell.page.keyboard.insert_text(line)


def drawing_widget(scope: Page | Locator) -> tuple[Locator, Locator]:
    """The first widget that draws a labelled picture, and the picture."""
    page = scope if isinstance(scope, Page) else scope.page
    picture = page.locator("[role=img][aria-label]")
    widget = scope.locator(".jp-OutputArea-output .jupyter-widgets", has=picture).first
    widget.scroll_into_view_if_needed()  # waits until it is drawn
    return widget, widget.locator(picture).first


def press(widget: Locator, picture: Locator, key: str, on: str = "input[type=range]", seconds: float = 20) -> None:
    """Press `key` on the widget's first slider, or what else, and wait until the picture is labelled otherwise."""
    label = picture.get_attribute("aria-label") or ""
    widget.locator(on).first.press(key)
    expect(picture).not_to_have_attribute("aria-label", label, timeout=1000 * seconds)


def dress(page: Page, theme: str, width: int) -> None:
    """Put on JupyterLab's Light or Dark theme, and make the window so wide, without loading the page again."""
    page.set_viewport_size({"width": width, "height": 1400})
    page.evaluate(
        "theme => { jupyterapp.commands.execute('apputils:change-theme', { theme }); }", f"JupyterLab {theme}"
    )
    page.wait_for_function("theme => document.body.dataset.jpThemeName === theme", arg=f"JupyterLab {theme}")


# What one would not show a class, in words. Marks without a letter or digit may have any colour.
FAULTS = r"""widget => {
    const faults = [], short = (element) => element.textContent.trim().slice(0, 60);
    const seen = (element) => element.getClientRects().length > 0 && !element.closest('style');
    const boxes = '.jupyter-widgets, button, label, output, .widget-label, .widget-readout, .course-slider > *';
    for (const each of widget.querySelectorAll(boxes))
        if (seen(each) && each.scrollWidth > each.clientWidth + 1 && each.clientWidth)
            faults.push(`cut off: ${short(each)}`);
    for (const each of widget.querySelectorAll('*')) {
        const { overflowX, overflowY } = getComputedStyle(each), scrolls = (flow) => ['auto', 'scroll'].includes(flow);
        if (!seen(each) || each.tagName === 'TEXTAREA') continue;
        if ((scrolls(overflowX) && each.scrollWidth > each.clientWidth + 1) ||
            (scrolls(overflowY) && each.scrollHeight > each.clientHeight + 1)) faults.push(`scrolls: ${short(each)}`);
    }
    for (const each of widget.querySelectorAll('select, input[type=radio]'))
        faults.push(`JupyterLab takes its arrow keys: ${short(each.parentElement)}`);

    const numbers = (colour) => colour.match(/[\d.]+/g).map(Number);
    const over = (ink, alpha, paper) => paper.map((channel, i) => alpha * ink[i] + (1 - alpha) * channel);
    function paper(element) {
        if (!element) return [255, 255, 255];
        const [red, green, blue, alpha = 1] = numbers(getComputedStyle(element).backgroundColor);
        return alpha === 1 ? [red, green, blue] : over([red, green, blue], alpha, paper(element.parentElement));
    }
    function opacity(element) {
        return element === widget ? 1 : getComputedStyle(element).opacity * opacity(element.parentElement);
    }
    const luminance = (colour) => colour.map((c) => c / 255)
        .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    function contrast(element, colour) {
        const ground = paper(element), [red, green, blue, alpha = 1] = numbers(colour);
        const [a, b] = [luminance(over([red, green, blue], alpha * opacity(element), ground)), luminance(ground)];
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    }

    const nodes = document.createTreeWalker(widget, NodeFilter.SHOW_TEXT);
    while (nodes.nextNode()) {
        const each = nodes.currentNode.parentElement, style = getComputedStyle(each);
        if (!seen(each) || !/\w/.test(nodes.currentNode.data) || each.closest('textarea')) continue;
        const drawn = each instanceof SVGElement, frame = (drawn ? each.closest('svg[viewBox]') : widget);
        const size = parseFloat(style.fontSize) * (drawn ? each.getScreenCTM().a : 1);
        if (size < 11) faults.push(`${size.toFixed(1)} px: ${short(each)}`);
        if (!each.closest('button, :disabled') && contrast(each, drawn ? style.fill : style.color) < 4.5)
            faults.push(`faint: ${short(each)}`);
        const box = each.getBoundingClientRect(), room = frame.getBoundingClientRect();
        if (box.left < room.left - 1 || box.right > room.right + 1) faults.push(`clipped: ${short(each)}`);
        if (drawn && (box.top < room.top - 1 || box.bottom > room.bottom + 1)) faults.push(`clipped: ${short(each)}`);
    }
    for (const picture of widget.querySelectorAll('svg[viewBox]')) {
        const words = [...picture.querySelectorAll('text')].filter((each) => seen(each) && /\w/.test(each.textContent));
        const places = words.map((each) => each.getBoundingClientRect()), near = 3; // px: boxes are higher than letters
        for (let i = 0; i < words.length; i++) for (let j = 0; j < i; j++) {
            const [a, b] = [places[i], places[j]];
            if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 0 &&
                Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > near)
                faults.push(`on top of each other: ${short(words[j])}, ${short(words[i])}`);
        }
    }
    return faults;
}"""


def faults(widget: Locator) -> list[str]:
    """What cannot be read or reached on the page as it is dressed: words cut off, tiny or faint, keys that are lost."""
    return widget.evaluate(FAULTS)


def nameless(widget: Locator) -> list[str]:
    """Controls of which a screen reader could say no more than their role."""
    roles = "slider|button|checkbox|spinbutton|textbox|progressbar|combobox|listbox|radio"
    return re.findall(rf'^\s*- (?:{roles})\b(?! ").*$', widget.aria_snapshot(), re.MULTILINE)


def sliders(widget: Locator) -> dict[str, str]:
    """What a screen reader says of each slider: its name, and its value in words."""
    said = "all => all.map(each => [each.getAttribute('aria-label'), each.getAttribute('aria-valuetext')])"
    return dict(widget.locator("[role=slider], input[type=range]").evaluate_all(said))


def screenshot(page: Page | Locator, name: str) -> None:
    """Into the folder that COURSE_SCREENSHOTS names, if it names one."""
    if folder := os.environ.get("COURSE_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png")
