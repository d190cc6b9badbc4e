"""Pictures of the built site: `python docs/_site/finish/screenshot.py SITE --output shots [PAGE ...]`.

Without pages and output it writes the picture of the README, docs/assets/site.png. Needs chromium.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import shutil
import threading
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parents[3]
SIZES = {"phone": (390, 844), "desktop": (1440, 900)}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def serve(site: Path) -> str:
    """Serve a folder on a free port until the process ends, and return its address."""
    handler = functools.partial(Quiet, directory=str(site))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/"


def shoot(
    browser: Browser,
    address: str,
    path: Path,
    size: tuple[int, int],
    scheme: Literal["light", "dark"],
    whole: bool,
) -> None:
    """One picture of one page."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,
        device_scale_factor=2 if not whole else 1,
    )
    page = context.new_page()
    page.goto(address)
    page.wait_for_load_state("networkidle")
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(path), full_page=whole)
    context.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("site", type=Path, help="the folder that mkdocs build wrote")
    parser.add_argument(
        "pages", nargs="*", default=[], help="addresses below the site's, such as quick-start/"
    )
    parser.add_argument("--output", type=Path, help="folder for pictures in both schemes and both sizes")
    values = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    address = serve(values.site)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        if values.output is None:
            picture = ROOT / "docs" / "assets" / "site.png"
            shoot(browser, address, picture, (1280, 800), "light", whole=False)
            print(picture)
        for page in values.pages or ([""] if values.output else []):
            for scheme in ("light", "dark"):
                for name, size in SIZES.items():
                    file = f"{page.strip('/').replace('/', '-') or 'home'}-{scheme}-{name}.png"
                    shoot(browser, address + page, values.output / file, size, scheme, whole=True)
                    print(values.output / file)
        browser.close()


if __name__ == "__main__":
    main()
