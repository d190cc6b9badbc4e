"""Every page meets WCAG 2 AA as far as axe can tell, in both schemes, on a phone and on a desktop."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_site import addresses

pytestmark = [pytest.mark.browser, pytest.mark.slow]
# What axe looks at depends on the scheme (contrast) or on the size (what is shown), hardly on both at once.
VIEWS = {"light-desktop": ((1440, 900), "light"), "dark-phone": ((390, 844), "dark")}
# Colours of tabs fade in for a moment: wait for two frames, in which that begins, and for its end.
FADED = """async () => {
  for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
  await Promise.allSettled(document.getAnimations().map((animation) => animation.finished));
}"""
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa"], "resultTypes": ["violations"]}


@pytest.mark.parametrize(("size", "scheme"), VIEWS.values(), ids=VIEWS)
def test_every_page_is_accessible(browser, base: str, site: Path, size: tuple[int, int], scheme: str) -> None:  # type: ignore[no-untyped-def]
    from axe_playwright_python.sync_playwright import Axe

    axe, found = Axe(), []
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": size[0], "height": size[1]}, reduced_motion="reduce"
    )
    page = context.new_page()
    for address in addresses(site):
        page.goto(base + address)
        # Folded parts count too.
        page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
        page.evaluate(FADED)
        found += [
            (address, problem["id"], str(node["target"]), node.get("failureSummary", "")[:200])
            for problem in axe.run(page, options=RULES).response["violations"]
            for node in problem["nodes"]
        ]
    context.close()
    assert found == []
