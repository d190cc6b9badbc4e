"""Every page meets WCAG 2 AA as far as axe can tell, in both schemes, on a phone and on a desktop."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_site import addresses

pytestmark = pytest.mark.browser
SIZES = {"phone": (390, 844), "desktop": (1440, 900)}


# What axe looks at depends on the scheme (contrast) or on the size (what is shown), hardly on both at once.
@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_every_page_is_accessible(browser, base: str, site: Path, size: str, scheme: str) -> None:  # type: ignore[no-untyped-def]
    from axe_playwright_python.sync_playwright import Axe

    axe = Axe()
    width, height = SIZES[size]
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": height}, reduced_motion="reduce"
    )
    page = context.new_page()
    problems = []
    for address in addresses(site):
        page.goto(base + address)
        # Folded parts count too; colours of tabs fade in for a moment.
        page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
        page.wait_for_timeout(300)
        found = axe.run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa"]})
        problems += [
            (address, problem["id"], node["target"], node.get("failureSummary", "")[:200])
            for problem in found.response["violations"]
            for node in problem["nodes"]
        ]
    context.close()
    assert problems == []
