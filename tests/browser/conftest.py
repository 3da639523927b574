"""A real Chromium for the review page, and pages of runs whose videos really play."""

import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from reviewed_runs import CONDITIONS, make_reviewed_run
from waiting import PATIENCE_S, until

from act_eval.report import write_report

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
JOINTS = ("pan", "lift", "elbow", "flex", "roll", "gripper")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless Chromium; that of the system, because a marked test must run in a real one or fail."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.fail("browser tests need a Chromium: apt-get install chromium (or google-chrome) and try again")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        pytest.fail("browser tests need playwright, which drives that Chromium: pip install 'act_eval[browser]'")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of five seeds in three conditions with its page."""
    out = make_reviewed_run(tmp_path_factory.mktemp("reviewed") / "run", CONDITIONS, lengths=(40, 60, 30, 50, 45))
    write_report([out], out, joint_names=lambda suite: JOINTS)
    return out


@pytest.fixture
def errors() -> list[str]:
    """What the console of `visit` said of errors and warnings."""
    return []


@pytest.fixture
def visit(chromium: Any, errors: list[str]) -> Iterator[Callable[..., Any]]:
    """Open an address in a page of its own, and wait until it is ready."""
    contexts = []

    def open_page(address: str, width: int = 1440, height: int = 900, **options: Any) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(1000 * PATIENCE_S)
        page.on("console", lambda m: errors.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        until(page, "document.documentElement.dataset.ready === 'true'")
        return page

    yield open_page
    for context in contexts:
        context.close()


class Quiet(SimpleHTTPRequestHandler):
    """Python's own server: it sends no parts of files, as some do."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Serve a folder; return its address."""
    servers = []

    def start(folder: Path) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()
