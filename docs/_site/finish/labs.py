"""Labs: py:percent notebooks that mkdocs-jupyter executes, with our figures, our folder, and a download."""

from __future__ import annotations

import base64
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.toc import get_toc
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

from ..run import digest, models
from ..run.execute import output_html
from ..run.figures import clean_svg, place_svg
from ..run.state import CACHE, KEEP_DAYS, PACKAGE, build

KERNEL = """\
c = get_config()  # noqa: F821
c.InlineBackend.figure_formats = ["svg"]
c.InlineBackend.rc = {}
c.InlineBackend.print_figure_kwargs = {"bbox_inches": "tight"}
c.IPKernelApp.log_level = 40
# A claim that does not hold is printed, and the cells go on: the build lists all that fail.
c.IPKernelApp.exec_lines = ["from minimind.course import claims; claims.when_false = print; del claims"]
"""
DOLLARS = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", re.S)
ALT = re.compile(r"^# alt: (.+)$", re.M)


def on_pre_build(config: Any) -> None:
    """Give the kernels our style and nothing of the user's own; cache by what a lab can import and load."""
    profile = CACHE / "ipython" / "profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    (profile / "ipython_kernel_config.py").write_text(KERNEL, encoding="utf-8")
    # The converter misses alternative text that `finish` below is about to fill in.
    logging.getLogger("traitlets").setLevel(logging.ERROR)
    os.environ["IPYTHONDIR"] = str(profile.parent)
    os.environ["MATPLOTLIBRC"] = str(_matplotlibrc())
    if "mkdocs-jupyter" in config.plugins:
        key = digest.digest_files([Path(__file__)])[:12] + digest.digest_package()[:12]
        old = time.time() - KEEP_DAYS * 86400
        for folder in (CACHE / "labs").glob("*"):
            if folder.stat().st_mtime < old:
                shutil.rmtree(folder)
        key += models.model_digest()[:12]
        options = config.plugins["mkdocs-jupyter"].config
        options["cache_dir"] = str(CACHE / "labs" / key)
        # The plugin forgets what the last build did not ask for: results of cells must not make way for none.
        options["execute"] = options["cache"] = bool(config.extra.get("labs", True))


def _matplotlibrc() -> Path:
    """The house style as a file that kernels read; written again when minimind/course/plots.py changes."""
    path = CACHE / f"style-{digest.digest_files([PACKAGE / 'course' / 'plots.py'])[:12]}" / "matplotlibrc"
    if not path.is_file():
        from minimind.course import plots

        path.parent.mkdir(parents=True, exist_ok=True)
        clear = dict.fromkeys(("savefig.facecolor", "figure.facecolor", "axes.facecolor"), "none")
        lines = [f"{name}: {_rc_value(value)}" for name, value in (plots.STYLE | clear).items()]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _rc_value(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value).replace("#", "")  # a comment starts with #, and colours do without it


def is_lab(page: Any) -> bool:
    return page.file.src_uri.endswith((".py", ".ipynb"))


def on_pre_page(page: Any, config: Any, files: Any) -> None:
    if is_lab(page):
        run_in_folder(page)


def run_in_folder(page: Any) -> None:
    """Make the lab's kernel start in the private folder, where `runs/pretrain` is."""
    render = page.render

    def moved(config: Any, files: Any) -> None:
        before = os.getcwd()
        models.begin_page(live=True)
        os.chdir(models.work_folder())
        try:
            render(config, files)
        except Exception as error:
            message = re.sub(r"\x1b\[[\d;]*m", "", str(error)).strip()
            last = message.splitlines()[-1] if message else type(error).__name__
            page.content, page.toc = build.fail(build.where(), last, trace=message), get_toc([])
        finally:
            os.chdir(before)

    page.render = moved


def on_page_content(content: str, page: Any, config: Any, files: Any) -> str | None:
    return finish(content, page) if is_lab(page) else None


def finish(content: str, page: Any) -> str:
    """Rebuild the page from its cells: our own code blocks and figures, and none of the notebook's styles."""
    from bs4 import BeautifulSoup

    if build.failed(build.uri):
        return content
    # Half a megabyte of style sheets and scripts stands in the way of the cells.
    soup = BeautifulSoup(re.sub(r"<(style|script)\b.*?</\1>", "", content, flags=re.S), "html.parser")
    alts = ALT.findall(Path(page.file.abs_src_path).read_text(encoding="utf-8"))
    figures = len(soup.select("img[src^='data:image/svg']"))
    if len(alts) != figures and build.config.extra.get("labs", True):
        build.fail(build.where(), f"{figures} figure(s), but {len(alts)} line(s) `# alt: what is to be seen`")
        alts += [""] * figures
    waiting = iter(enumerate(alts))
    parts = []
    for cell in soup.select(".jp-Cell[id]"):
        if "jp-MarkdownCell" in cell["class"]:
            parts.append(_text(cell))
            continue
        text = cell.select_one(".clipboard-copy-txt")
        code = ALT.sub("", text.get_text() if text else "").strip("\n")
        parts.append(_highlight(code, "python", "language-python highlight"))
        parts += [_output(output, waiting) for output in _joined(cell.select(".jp-OutputArea-output"))]
    name = Path(page.file.src_uri).stem
    parts.append(
        f'<p><a class="mm-button" href="{name}.ipynb" download>Download this lab as a notebook</a></p>'
    )
    return "\n".join(parts)


def _text(cell: Any) -> str:
    """A cell of prose; formulas get the marks that they have on other pages."""
    body = cell.select_one(".jp-RenderedMarkdown")
    for anchor in body.select("a.anchor-link"):
        anchor["class"], anchor["title"] = "headerlink", "Permanent link"
    parts = re.split(r"(<(?:pre|code)\b.*?</(?:pre|code)>)", body.decode_contents(), flags=re.S)
    return "".join(part if number % 2 else DOLLARS.sub(_formula, part) for number, part in enumerate(parts))


def _formula(match: re.Match[str]) -> str:
    if match[1]:
        return f'<div class="arithmatex">\\[{match[1]}\\]</div>'
    return f'<span class="arithmatex">\\({match[2]}\\)</span>'


def _highlight(text: str, language: str, css_class: str) -> str:
    return highlight(text, get_lexer_by_name(language), HtmlFormatter(cssclass=css_class, wrapcode=True))


def _joined(outputs: list[Any]) -> list[Any]:
    """What a slow cell prints arrives in pieces; those that follow each other become one."""
    joined: list[Any] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if last and last["data-mime-type"] == output["data-mime-type"] == "text/plain":
            last.string = last.get_text().strip("\n") + "\n" + output.get_text().strip("\n")
        else:
            joined.append(output)
    return joined


def _output(output: Any, alts: Iterator[tuple[int, str]]) -> str:
    """What a cell printed or drew."""
    image = output.select_one("img[src^='data:image/svg']")
    if image:
        number, alt = next(alts)
        svg = clean_svg(base64.b64decode(image["src"].partition(",")[2]).decode())
        return f'<figure class="mm-figure">{place_svg(svg, f"lab{number}", alt)}</figure>'
    if output["data-mime-type"] == "text/html":
        return f"<div>{output.decode_contents()}</div>"
    text = output.get_text().strip("\n")
    if output["data-mime-type"].endswith("stderr") and re.search(r"Traceback|Warning:", text):
        return build.fail(build.where(), text.splitlines()[-1], trace=text)
    shown, claims = output_html(text, "text")
    for name, holds, values in claims:
        if not holds:
            shown += build.fail(build.where(_line_of(name)), name, values=values, claim=True)
        build.state(name, holds)
    return shown


def _line_of(claim: str) -> int:
    """The line of the lab that makes a claim; 0 if its name is put together by code."""
    lines = Path(build.page.file.abs_src_path).read_text(encoding="utf-8").splitlines()
    return next((number for number, line in enumerate(lines, start=1) if claim in line), 0)


def on_post_page(output: str, page: Any, config: Any) -> None:
    if page.file.src_uri.endswith(".py"):
        write_notebook(page)


def write_notebook(page: Any) -> None:
    """Write the lab as .ipynb beside its page, without outputs, the same bytes every time."""
    import jupytext

    notebook = jupytext.read(page.file.abs_src_path)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        cell["source"] = ALT.sub("", cell["source"]).lstrip("\n")
    target = Path(page.file.abs_dest_path).with_name(f"{Path(page.file.src_uri).stem}.ipynb")
    target.parent.mkdir(parents=True, exist_ok=True)
    jupytext.write(notebook, target)
