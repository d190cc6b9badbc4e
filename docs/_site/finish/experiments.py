"""`<!-- experiments -->`: the table of all scripts in snippets/, from their docstrings.

And below the first command of a page that runs a script, the script's tier and time.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from ..marks.markup import escape
from ..run.parse import find_fences
from ..run.state import ROOT, build

MARK = "<!-- experiments -->"
COMMAND = re.compile(r"python (snippets/\w+/\w+\.py)")
SHOWN = re.compile(r'(?:--8<-- "|python )(snippets/\w+/\w+\.py)')


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Below the first block of commands that runs a script, say the script's tier and time."""
    if MARK in markdown:  # The table says it already.
        return markdown
    lines = markdown.split("\n")
    seen: set[str] = set()
    added = 0
    for fence in find_fences(markdown):
        commands = [line for line in fence.body if line.strip()] if fence.language == "bash" else []
        scripts = [name for name in dict.fromkeys(COMMAND.findall("\n".join(commands))) if name not in seen]
        if scripts:
            seen.update(scripts)
            said = [f'<p class="mm-tier">{_tier(name, named=len(commands) > 1)}</p>' for name in scripts]
            at = fence.last + added
            lines[at:at] = ["", *(fence.indent + line for line in said), ""]
            added += len(said) + 2
    return "\n".join(lines)


def _tier(name: str, named: bool) -> str:
    from minimind.course.snippets import read_script
    from minimind.errors import UserError

    try:
        script = read_script(ROOT / name)
    except (OSError, UserError) as error:
        return build.fail(build.page.file.src_uri, str(error))
    words = f"Tier: {script.tier} · {script.time}" + (" · extra" if script.part == "extra" else "")
    return escape(f"{Path(name).name}: {words}" if named else words)


def on_env(env: Any, config: Any, files: Any) -> None:
    """Fill in the mark, once every page has its title."""
    for file in files.documentation_pages():
        if file.page and file.page.content and MARK in file.page.content:
            file.page.content = file.page.content.replace(MARK, _table(file, files))


def _table(here: Any, files: Any) -> str:
    pages = _pages_of_scripts(files)
    modules: dict[str, list[Path]] = {}
    for path in sorted((ROOT / "snippets").glob("*/exp*.py")):
        modules.setdefault(path.parent.name, []).append(path)

    def place_of(module: str) -> tuple[int, str]:
        """Where the navigation has a module's own pages; the rest stand first, by name."""
        index = _index_of(module)
        return (build.order.index(index) if index in build.order else -1), module

    bodies = []
    for module in sorted(modules, key=place_of):
        index = _index_of(module)
        title = escape(module.replace("_", " ").capitalize())
        if index in build.order:
            title = f'<a href="{files.get_file_from_path(index).url_relative_to(here)}">{title}</a>'
        rows = "".join(_row(path, pages, here) for path in modules[module])
        bodies.append(f'<tbody><tr><th colspan="4" scope="rowgroup">{title}</th></tr>{rows}</tbody>')
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("Question", "Tier", "Takes", "Page"))
    return f'<table class="mm-experiments"><thead><tr>{heads}</tr></thead>{"".join(bodies)}</table>'


def _index_of(module: str) -> str:
    folder = module.replace("_", "-")
    found = [uri for uri in build.order if uri.endswith(f"/{folder}/index.md")]
    return found[0] if found else ""


def _row(path: Path, pages: dict[str, list[Any]], here: Any) -> str:
    from minimind.course.snippets import read_script
    from minimind.errors import UserError

    name = path.relative_to(ROOT).as_posix()
    text = path.read_text(encoding="utf-8")
    try:
        script = read_script(path)
    except UserError as error:
        return f'<tr><td colspan="4">{build.fail(name, str(error))}</td></tr>'
    question = " ".join((ast.get_docstring(ast.parse(text)) or "").split("\n\n")[0].split())
    links = ", ".join(
        f'<a href="{file.url_relative_to(here)}">{escape(str(file.page.title))}</a>'
        for file in pages.get(name, [])
    )
    question = re.sub("`([^`]+)`", r"<code>\1</code>", escape(question))
    cells = (
        f"{question}<br><code>{name}</code>",
        f"{script.tier}, {script.part}",
        escape(script.time) + _record(path, text),
        links or "none yet",
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _record(path: Path, text: str) -> str:
    """Whether a script keeps a record, and how long measuring it took."""
    from minimind.course import record

    file = path.with_suffix(".json")
    if "experiment.recorded(" not in text:
        return ""
    if not file.is_file():
        return "<br>keeps a record"
    seconds = record.read(file)["seconds"]
    return f"<br>its record took {f'{seconds:.0f} s' if seconds < 90 else f'{seconds / 60:.0f} minutes'}"


def _pages_of_scripts(files: Any) -> dict[str, list[Any]]:
    """For each script the pages that run it or show it, in the order of the navigation."""
    pages: dict[str, list[Any]] = {}
    for uri in build.order:
        file = files.get_file_from_path(uri)
        text = Path(file.abs_src_path).read_text(encoding="utf-8-sig")
        blocks = "\n".join(line for fence in find_fences(text) for line in fence.body)
        for name in dict.fromkeys(SHOWN.findall(blocks if MARK not in text else "")):
            pages.setdefault(name, []).append(file)
    return pages
