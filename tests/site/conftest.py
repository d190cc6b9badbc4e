"""The site is built once for all tests that look at it, and served as a static host would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(ROOT / "docs"))

from serving import serve  # noqa: E402 - found by the path above

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the built site lies: below a sub-path, as on GitHub Pages."""
    return tmp_path_factory.mktemp("host") / "course"


@pytest.fixture(scope="session")
def base(site: Path) -> Iterator[str]:
    """Build the site for the address it is served from, and serve it."""
    server = serve(site.parent)
    url = f"http://127.0.0.1:{server.server_port}/course/"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(site)],
        cwd=ROOT,
        # A model is trained by the build that follows in the check; here the shipped one stands in its place.
        env=os.environ | {"SITE_URL": url, "MINIMIND_SITE_TRAIN": "false"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    yield url
    server.shutdown()


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """Chromium; where CI is set its absence is a failure and not a reason to skip."""
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("the browser tests need chromium, and CI must run them")
        pytest.skip("needs chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def context(browser, base: str) -> Iterator[object]:  # type: ignore[no-untyped-def]
    """A fresh browser profile that notes and refuses every request to another host."""
    fresh = browser.new_context()
    fresh.refused = []

    def route(route) -> None:  # type: ignore[no-untyped-def]
        if route.request.url.startswith((base.removesuffix("course/"), "data:", "blob:")):
            route.continue_()
        else:
            fresh.refused.append(route.request.url)
            route.abort()

    fresh.route("**/*", route)
    yield fresh
    assert fresh.refused == []
    fresh.close()
