"""`<!-- path test -->`: the graded questions of all modules' quiz pages, from which the browser draws a test.

Without JavaScript they stand there, module by module, with folded answers (docs/assets/js/path-test.js does the rest).
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urljoin

from mkdocs.utils import get_relative_url

from ..marks.markup import escape
from ..run.state import build

MARK = "<!-- path test -->"
COUNT = 20
QUIZ_PAGE = re.compile(r"(?:foundation|architecture)/[\w-]+/quiz\.md")
QUESTION = re.compile(r'<section class="mm-quiz".*?</section>', re.S)
GRADED = re.compile(r'data-kind="(?:choice|output|number|order)"')
CHECK = re.compile(r'<p class="mm-quiz__act">.*?</p>', re.S)


def on_env(env: Any, config: Any, files: Any) -> None:
    """Fill in the mark, once every quiz page is rendered."""
    for file in files.documentation_pages():
        if file.page and file.page.content and MARK in file.page.content:
            file.page.content = file.page.content.replace(MARK, _test(file, files))


def _test(here: Any, files: Any) -> str:
    parts = []
    total = 0
    for uri in filter(QUIZ_PAGE.fullmatch, build.order):
        quiz = files.get_file_from_path(uri)
        index = files.get_file_from_path(uri.replace("quiz.md", "index.md"))
        questions = [
            _copy(question, quiz, here)
            for question in QUESTION.findall(quiz.page.content or "")
            if GRADED.search(question)
        ]
        if not questions:
            continue
        total += len(questions)
        title = escape(str(index.page.title))
        parts.append(
            f'<div data-module="{title}" data-index="{index.url_relative_to(here)}"'
            f' data-quiz-page="{quiz.url_relative_to(here)}"><h2>{title}</h2>{"".join(questions)}</div>'
        )
    if not parts:
        return "<p>The modules have no questions yet.</p>"
    return (
        f'<mm-test data-search-exclude data-count="{COUNT}">'
        f"<p>Drawn from {total} questions of {len(parts)} module{'s' if len(parts) > 1 else ''}.</p>"
        '<p hidden><button type="button" class="mm-button mm-button--quiet" data-test="new">New draw</button></p>'
        f'<ol class="mm-test__draw" hidden></ol>{"".join(parts)}'
        '<p hidden><button type="button" class="mm-button" data-test="grade">Grade my answers</button></p>'
        '<p role="status" class="mm-test__result"></p>'
        '<div class="mm-test__scores" hidden><table><caption>Score by module</caption><thead><tr>'
        '<th scope="col">Module</th><th scope="col">Right</th><th scope="col">Read again</th></tr></thead>'
        "<tbody></tbody></table></div></mm-test>"
    )


def _copy(question: str, source: Any, here: Any) -> str:
    """A question as it stands on the test's page: names of its own, no button, links that still lead there."""
    question = CHECK.sub("", question)
    question = re.sub(r'(?<![\w-])(data-quiz|id|for)="', r'\1="test-', question)
    question = re.sub(r'name="quiz-', 'name="quiz-test-', question)

    def move(match: re.Match[str]) -> str:
        attribute, address = match.groups()
        if re.match(r"/|[a-z]+:", address):
            return match[0]
        whole = urljoin(f"/{source.url}", address)
        return f'{attribute}="{get_relative_url(whole, f"/{here.url}")}"'

    return re.sub(r'\b(href|src)="([^"]*)"', move, question)
