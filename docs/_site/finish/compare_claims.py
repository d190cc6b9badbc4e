"""Whether two builds make the same claims, and all hold: `python docs/_site/finish/compare_claims.py SITE OTHER`.

Sums end in other bits where a processor lacks the newer instructions. With them switched off, no claim may vanish,
appear or fail. The other build shows the model that the first has trained, and leaves the labs out:

    mkdocs build --strict
    export ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2
    MINIMIND_SITE_TRAIN=false MINIMIND_SITE_LABS=false mkdocs build --strict -d .cache/older
    python docs/_site/finish/compare_claims.py site .cache/older

`MINIMIND_SITE_THREADS=2` lets each block compute with two threads, which is another way to come to other bits.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

Claims = set[tuple[str, str]]


def read(site: str) -> tuple[Claims, Claims]:
    """The claims of a built site as (page, name), without the labs: all, and those that do not hold."""
    pages = json.loads((Path(site) / "claims.json").read_text(encoding="utf-8"))
    claims = [
        (page, name, holds)
        for page, made in pages.items()
        if not page.endswith(".py")
        for name, holds in made
    ]
    return {claim[:2] for claim in claims}, {claim[:2] for claim in claims if not claim[2]}


def main(first: str, second: str) -> int:
    """Print what differs; 0 if nothing does."""
    (one, false_in_one), (two, false_in_two) = read(first), read(second)
    lines = [f"only in {first}: {page}: {name}" for page, name in sorted(one - two)]
    lines += [f"only in {second}: {page}: {name}" for page, name in sorted(two - one)]
    for site, false in ((first, false_in_one), (second, false_in_two)):
        lines += [f"does not hold in {site}: {page}: {name}" for page, name in sorted(false)]
    if not one:
        lines.append(f"{first} makes no claim")
    print("\n".join(lines) if lines else f"{len(one)} claims, the same in both builds, and all hold")
    return 1 if lines else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(str(__doc__))
    sys.exit(main(sys.argv[1], sys.argv[2]))
