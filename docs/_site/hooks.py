"""Where MkDocs enters: each event, and which file acts on it, in order."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from markdown_exec import formatters
from markdown_exec._internal import rendering

from _site import (
    checklist,
    claims,
    commands,
    diagram,
    digest,
    execute,
    experiments,
    failures,
    fences,
    glossary,
    labs,
    lessons,
    machine,
    markup,
    maths,
    models,
    notes,
    path_test,
    paths,
    quiz,
    records,
    roadmap,
    sources,
    unindexed,
    values,
    workers,
)
from _site.state import PACKAGE, build, log

COMPONENTS = {"quiz": quiz.quiz, "checklist": checklist.checklist, "diagram": diagram.diagram}


def on_startup(command: str, dirty: bool) -> None:
    build.command = command
    machine.limit()


def on_config(config: Any) -> Any:
    formatters["python"] = formatters["py"] = execute.format_python
    custom = config.mdx_configs.setdefault("pymdownx.superfences", {}).setdefault("custom_fences", [])
    custom[:] = [fence for fence in custom if fence["name"] not in COMPONENTS]
    for name, function in COMPONENTS.items():
        custom.append({"name": name, "class": name, "format": markup.guarded(name, function)})
    return config


def on_pre_build(config: Any) -> None:
    build.begin(config)
    _purge_changed_package()
    execute.begin_build()
    workers.begin_build()
    unindexed.PARTS.clear()
    if config.extra.get("train", True) and build.command != workers.COMMAND:
        models.ensure_model()
    labs.prepare(config)
    glossary.load(config)


def _purge_changed_package(last: list[str] = []) -> None:  # noqa: B006 - the list is the memory
    """While serving: let the next block import the package as it is now."""
    digest.forget()
    now = digest.digest_package()
    if last and last[0] != now:
        for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE.name]:
            del sys.modules[name]
    last[:] = [now]


def on_files(files: Any, config: Any) -> None:
    build.files = files
    paths.load(config, files)


def on_nav(nav: Any, config: Any, files: Any) -> None:
    build.order = [page.file.src_uri for page in nav.pages]
    workers.warm(config, files)


def on_pre_page(page: Any, config: Any, files: Any) -> None:
    build.page = page
    if labs.is_lab(page):
        labs.run_in_folder(page)


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str | None:
    build.page = page
    if labs.is_lab(page):
        return None
    source = Path(page.file.abs_src_path).read_text(encoding="utf-8-sig")
    skipped = fences.front_matter_lines(source, markdown)
    execute.begin_page(source, live=bool(page.meta.get("live")))
    markup.begin_page(source, set(COMPONENTS))
    markdown = values.collect(markdown, skipped)
    markdown = sources.place(markdown, skipped)
    markdown = records.place(commands.place(lessons.place(markdown, page)))
    markdown = experiments.say_tiers(roadmap.place(markdown, paths.titles()))
    return paths.place(markdown, page)


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    if labs.is_lab(page):
        html = labs.finish(html, page)
    else:
        html = values.fill(html)
        execute.end_page()
        markup.end_page()
        quiz.check_numbers(html)
        html = quiz.score(quiz.gates(html))
    html = maths.place(html, page)
    html = glossary.place(html, page)
    html = notes.finish(html, page)
    html = paths.finish(html, page)
    html = failures.banner(html, build.failed(build.uri))
    workers.finished(page)
    build.page = None
    return unindexed.set_aside(html)


def on_page_context(context: Any, page: Any, config: Any, nav: Any) -> None:
    # The search has read the page by now.
    page.content = unindexed.put_back(page.content)


def on_env(env: Any, config: Any, files: Any) -> None:
    claims.place(files)
    path_test.place(files)
    experiments.place(files)
    notes.place(files)
    _say_times()
    claims.report()


def on_post_page(output: str, page: Any, config: Any) -> None:
    if page.file.src_uri.endswith(".py"):
        labs.write_notebook(page)


def on_post_build(config: Any) -> None:
    claims.write(Path(config.site_dir))
    # markdown-exec keeps every page's parser, and with it the page, in this cache: 12 MiB more each rebuild.
    rendering._register_headings_processors.cache_clear()


def _say_times() -> None:
    """The figures of this build, before it writes its pages or fails."""
    log.info("blocks: %d from the cache, %d run", execute.Blocks.hits, execute.Blocks.misses)
    pages = dict(workers.Times.pages)
    for seconds, where in execute.Blocks.times:
        page = where.split(":")[0].partition("/")[2]
        pages[page] = pages.get(page, 0.0) + seconds
    log.info(
        "seconds so far: %.0f, %.0f of them training, %.0f of them waiting for %d processes with %d pages",
        time.monotonic() - build.started, models.Training.seconds, workers.Times.seconds, workers.Times.processes,
        len(workers.Times.pages),
    )  # fmt: skip
    log.info("  %.0f s in blocks of %d pages; the slowest pages:", sum(pages.values()), len(pages))
    for page, seconds in sorted(pages.items(), key=lambda item: -item[1])[:5]:
        if seconds > 1:
            log.info("  %.1f s %s", seconds, page)


def on_build_error(error: Exception) -> None:
    rendering._register_headings_processors.cache_clear()
