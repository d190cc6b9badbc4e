"""Where MkDocs enters: all components of the site, in the order in which they work, and nothing else.

A component is a module, or an object, with functions named like the events of MkDocs that it serves. At each event,
every component that serves it acts in turn, and finds what those before it made.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _site.fences import custom, quiz, sources
from _site.finish import (
    banner,
    claims,
    experiments,
    labs,
    lessons,
    notes,
    path_test,
    paths,
    roadmap,
    unindexed,
)
from _site.marks import commands, glossary, maths, records, values
from _site.run import digest, execute, machine, models, times, workers
from _site.run.state import build

COMPONENTS: list[Any] = [
    build,  # which page, which files, what has failed so far
    machine,  # how many threads; before anything loads torch
    digest,  # what the package is today
    models,  # the live model is trained
    labs,  # notebooks: run in their folder, then made into pages of ours
    # Most of these act on a page's Markdown:
    values,  # [[= loss | .2f ]]: set aside, and put in again before the sessions end
    execute,  # ```python exec="1"
    custom,  # ```quiz, ```checklist, ```diagram
    lessons,  # <!-- time -->, <!-- exercise: rms_norm -->
    commands,  # <!-- commands -->
    records,  # <!-- record: normalization/exp4_pre_or_post -->
    roadmap,  # <!-- roadmap -->
    experiments,  # a script's tier below its command; at the end <!-- experiments -->
    # Most of these act on what it has become, its HTML:
    quiz,  # answers that were computed, what a prediction hides, the score
    maths,  # formulas
    glossary,  # tooltips of terms
    notes,  # the reader's box; at the end <!-- my notes -->
    paths,  # <!-- path: quick-start -->, <!-- cards -->; the tick at the page's end
    sources,  # ```source minimind.model.norm.RMSNorm; last on the Markdown, so that no mark in a source is filled in
    banner,  # what of the page does not hold
    workers,  # fill the cache before the first page; note each page that is in it
    unindexed,  # pictures, until the search has read the page
    # Once every page is rendered:
    path_test,  # <!-- path test -->
    times,  # where the seconds went
    claims,  # <!-- claims -->; the build fails here if anything has failed
]


def _serve(event: str) -> Callable[..., Any]:
    """The function that MkDocs calls at an event.

    What an event is about goes from one component to the next, as each one has changed it. MkDocs gives it without a
    name; an event that is about nothing in particular has none.
    """

    def serve(*subject: Any, **surroundings: Any) -> Any:
        for component in COMPONENTS:
            act = getattr(component, event, None)
            changed = act(*subject, **surroundings) if act else None
            if changed is not None:
                subject = (changed,)
        return subject[0] if subject else None

    return serve


on_startup = _serve("on_startup")
on_config = _serve("on_config")
on_pre_build = _serve("on_pre_build")
on_files = _serve("on_files")
on_nav = _serve("on_nav")
on_pre_page = _serve("on_pre_page")
on_page_content = _serve("on_page_content")
on_env = _serve("on_env")
on_page_context = _serve("on_page_context")
on_post_page = _serve("on_post_page")
on_post_build = _serve("on_post_build")
on_build_error = _serve("on_build_error")


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> Any:
    """A lab has no Markdown of its own: a plugin makes a page of its cells."""
    if labs.is_lab(page):
        return None
    return _serve("on_page_markdown")(markdown, page=page, config=config, files=files)
