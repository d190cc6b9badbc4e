"""A process that renders the pages named on its standard input, and answers each with the seconds that it took.

Started by workers.py: `python docs/_site/run/worker.py MKDOCS_YML`. What it renders is thrown away; the cache remains.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

# The folder of this file holds modules with common names, such as `values`; only their package may be found. And the
# minimind that runs must be the one beside these pages, whose digest the cache notes.
sys.path.pop(0)
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mkdocs.config import load_config
from mkdocs.structure.files import get_files
from mkdocs.structure.nav import get_navigation


def render(page: Any, config: Any, files: Any) -> None:
    """What MkDocs does with a page up to its HTML."""
    page = config.plugins.on_pre_page(page, config=config, files=files)
    page.read_source(config)
    page.markdown = config.plugins.on_page_markdown(page.markdown, page=page, config=config, files=files)
    page.render(config, files)
    config.plugins.on_page_content(page.content, page=page, config=config, files=files)


def main(config_file: str) -> None:
    # The pipes are for pages and answers alone; what blocks read and print, or programs that they start, goes nowhere.
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    config = load_config(config_file=config_file)
    config.plugins.on_startup(command="worker", dirty=False)  # type: ignore[arg-type]
    config = config.plugins.on_config(config)
    config.plugins.on_pre_build(config=config)
    files = config.plugins.on_files(get_files(config), config=config)
    config.plugins.on_nav(get_navigation(files, config), config=config, files=files)
    for uri in requests:
        started = time.monotonic()
        try:
            file = files.get_file_from_path(uri.strip())
            assert file is not None
            render(file.page, config, files)
        except Exception:
            pass  # The build meets the same error, and reports it.
        answers.write(f"{time.monotonic() - started:.2f}\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1])
