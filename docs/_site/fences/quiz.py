"""The fence ```quiz: a question in YAML, checked by a schema; readable without JavaScript."""

from __future__ import annotations

import hashlib
import random
import re
from typing import Any

from ..marks.markup import block, check_keys, escape, inline
from ..run.execute import Blocks, run_block
from ..run.session import Session
from ..run.state import BlockError, build

COMMON = {"id", "question"}
KEYS: dict[str, tuple[set[str], set[str]]] = {
    "choice": ({"options", "why"}, set()),
    "predict": ({"options", "why"}, set()),
    "output": ({"code", "options", "why"}, {"session"}),
    "number": ({"answer", "why"}, {"tolerance", "absolute", "unit", "hints"}),
    "order": ({"lines", "why"}, {"code"}),
    "explain": ({"answer", "ticks"}, set()),
}
NUMBER = re.compile(r"^\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*$", re.I)


def quiz(data: Any, md: Any) -> str:
    """One question as HTML."""
    kind = data.get("kind", "choice") if isinstance(data, dict) else "choice"
    if kind not in KEYS:
        raise BlockError(f"unknown kind {kind!r}; known: {', '.join(KEYS)}")
    needed, allowed = KEYS[kind]
    check_keys(data, COMMON | needed, allowed | {"kind"}, "a quiz")
    identity = str(data["id"])
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", identity):
        raise BlockError(f"id {identity!r}: use small letters, digits and hyphens")
    page = build.page.file.src_uri if build.page else ""
    if identity in build.quiz_ids:
        raise BlockError(f"the id {identity!r} is taken, on {build.quiz_ids[identity]}")
    build.quiz_ids[identity] = page
    body, answer, extra = PARTS[kind](data, md)
    button = "Commit to this" if kind == "predict" else "Check"
    if kind == "explain":
        button = "Compare with a model answer"
    fold = "Show the answer" if kind != "predict" else "What each choice means"
    html = (
        # A tag that nothing inside uses: the search takes the first end of it for the end of what it leaves out.
        f'<section class="mm-quiz" id="{identity}" data-search-exclude data-quiz="{identity}" data-kind="{kind}"'
        f"{extra}>"
        f'<p class="mm-quiz__kind">{LABELS[kind]}</p>'
        f"<fieldset><legend>{inline(md, data['question'])}</legend>{body}</fieldset>"
        '<p class="mm-quiz__act">'
        f'<button type="button" class="mm-button" data-act="check">{button}</button></p>'
        f'<div class="mm-quiz__result" role="status"></div>'
        f'<details class="mm-quiz__answer"><summary>{fold}</summary>{answer}</details></section>'
    )
    return html + (f"<!-- predict begin {identity} -->" if kind == "predict" else "")


def _choices(rows: list[tuple[str, str, bool]], md: Any, several: bool, name: str) -> tuple[str, str]:
    """Radio buttons or boxes, and the list that explains each of them."""
    kind = "checkbox" if several else "radio"
    inputs, notes = [], []
    for number, (label, note, right) in enumerate(rows):
        shown = inline(md, label)
        plain = label.strip()
        # A label that is nothing but a formula gets a name that can be read aloud.
        spoken = f' aria-label="{escape(plain.strip("$"))}"' if plain[:1] == plain[-1:] == "$" else ""
        inputs.append(
            f'<label><input type="{kind}" name="quiz-{name}" value="{number}"'
            f"{' data-right' if right else ''}{spoken}>"
            f"<span>{shown}</span></label>"
        )
        mark = "Right" if right else "Not this"
        text = f" {inline(md, note)}" if note else ""
        notes.append(f'<li data-note="{number}"><strong>{shown}</strong> <em>{mark}.</em>{text}</li>')
    return "".join(inputs), f"<ul>{''.join(notes)}</ul>"


def _options(data: Any) -> list[tuple[str, str, bool]]:
    rows = []
    for option in data["options"]:
        keys = {"right", "wrong"} & set(option if isinstance(option, dict) else ())
        if len(keys) != 1:
            raise BlockError(f"an option is `right: ...` or `wrong: ...`, got {option!r}")
        check_keys(option, keys, {"note"}, "an option")
        right = "right" in option
        if not right and "note" not in option:
            raise BlockError(
                f"the wrong option {option['wrong']!r} lacks a note: why it tempts, why it is wrong"
            )
        rows.append((str(option["right" if right else "wrong"]), str(option.get("note", "")), right))
    if len(rows) < 2 or not any(right for *_, right in rows):
        raise BlockError("a choice needs two options or more, and a right one")
    return rows


def _choice(data: Any, md: Any) -> tuple[str, str, str]:
    rows = _options(data)
    several = sum(right for *_, right in rows) > 1
    body, notes = _choices(rows, md, several, data["id"])
    hint = '<p class="mm-quiz__hint">More than one is right.</p>' if several else ""
    return hint + body, notes + block(md, data["why"]), ""


def _predict(data: Any, md: Any) -> tuple[str, str, str]:
    rows = []
    for option in data["options"]:
        key = "right" if isinstance(option, dict) and "right" in option else "option"
        check_keys(option, {key, "note"}, set(), "an option of a prediction")
        rows.append((str(option[key]), str(option["note"]), key == "right"))
    body, notes = _choices(rows, md, False, data["id"])
    notes = notes.replace("<em>Not this.</em>", "").replace("<em>Right.</em>", "")
    return body, notes + f"<div data-why>{block(md, data['why'])}</div>", ""


def _output(data: Any, md: Any) -> tuple[str, str, str]:
    """The build runs the code; the right option is the one that it printed."""
    state = Blocks.sessions.get(data.get("session", ""), Session())
    pieces, _ = run_block(state, str(data["code"]), build.where(), ["block.py"])
    printed = "".join(text for kind, text in pieces if kind == "text").strip()
    rows = []
    for option in data["options"]:
        check_keys(option, {"option"}, {"note"}, "an option")
        rows.append(
            (
                str(option["option"]).strip(),
                str(option.get("note", "")),
                str(option["option"]).strip() == printed,
            )
        )
    if sum(right for *_, right in rows) != 1:
        raise BlockError(f"the code prints {printed!r}, and not exactly one option says so")
    if any(not note and not right for _, note, right in rows):
        raise BlockError("a wrong option lacks a note: why it tempts, why it is wrong")
    body, notes = _choices(
        [(f"`{label}`", note, right) for label, note, right in rows], md, False, data["id"]
    )
    code = block(md, f"```python\n{data['code'].rstrip()}\n```")
    return code + body, notes + block(md, data["why"]), ""


def _number(data: Any, md: Any) -> tuple[str, str, str]:
    """A number to fill in; the tolerance is relative, or `absolute`."""
    answer = str(data["answer"])
    if not (NUMBER.match(answer) or re.fullmatch(r"mmvalue\d+x", answer)):
        raise BlockError(f"the answer {answer!r} is neither a number nor a value [[= ... ]]")
    tolerance, absolute = float(data.get("tolerance", 0.02)), float(data.get("absolute", 0))
    unit = str(data.get("unit", ""))
    hints = []
    for hint in data.get("hints", []):
        check_keys(hint, {"value", "note"}, set(), "a hint")
        hints.append(f'<li data-near="{escape(str(hint["value"]))}">{inline(md, hint["note"])}</li>')
    label = f"Your answer{f' in {escape(unit)}' if unit else ''}"
    body = (
        f'<label class="mm-quiz__field"><span>{label}</span> '
        '<input type="text" inputmode="decimal" autocomplete="off"'
        f' data-answer="{escape(answer)}" data-tolerance="{tolerance}" data-absolute="{absolute}"></label>'
    )
    tempting = f"<ul hidden data-hints>{''.join(hints)}</ul>" if hints else ""
    return (
        body,
        f"<p><strong>{escape(answer)} {escape(unit)}</strong></p>{tempting}{block(md, data['why'])}",
        "",
    )


def _order(data: Any, md: Any) -> tuple[str, str, str]:
    """Lines to put in order, moved by buttons."""
    lines = [str(line) for line in data["lines"]]
    if len(lines) < 3:
        raise BlockError("an order needs three lines or more")
    shown = [f"<code>{escape(line)}</code>" if data.get("code") else inline(md, line) for line in lines]
    places = list(range(len(lines)))
    shuffle = random.Random(hashlib.sha256(str(data["id"]).encode()).digest())
    while places == sorted(places):
        shuffle.shuffle(places)
    rows = "".join(
        f'<li data-place="{place}"><span>{shown[place]}</span>'
        f'<button type="button" data-act="up" aria-label="Move up: {escape(lines[place])}">&#8593;</button>'
        f'<button type="button" data-act="down" aria-label="Move down: {escape(lines[place])}">'
        "&#8595;</button>"
        "</li>"
        for place in places
    )
    right = "".join(f"<li>{line}</li>" for line in shown)
    return f'<ol class="mm-quiz__lines">{rows}</ol>', f"<ol>{right}</ol>{block(md, data['why'])}", ""


def _explain(data: Any, md: Any) -> tuple[str, str, str]:
    """Write first, then compare with a model answer and tick what one's own said."""
    ticks = data["ticks"]
    if not isinstance(ticks, list) or len(ticks) != 3:
        raise BlockError("explain needs exactly three ticks")
    rows = "".join(
        f'<li><label><input type="checkbox" data-tick="{number}"><span>{inline(md, tick)}</span></label></li>'
        for number, tick in enumerate(ticks)
    )
    body = (
        '<label class="mm-quiz__field"><span>In your own words</span> <textarea rows="4"></textarea></label>'
    )
    answer = f'{block(md, data["answer"])}<p>Did yours say that …</p><ul class="mm-checklist">{rows}</ul>'
    return body, answer, ""


PARTS = {
    "choice": _choice, "predict": _predict, "output": _output,
    "number": _number, "order": _order, "explain": _explain,
}  # fmt: skip
LABELS = {
    "choice": "Question", "predict": "Predict first", "output": "What does it print?",
    "number": "Fill in the number", "order": "Put in order", "explain": "Explain it",
}  # fmt: skip


def on_page_content(content: str, page: Any, config: Any, files: Any) -> str:
    """What shows only once the page is whole: computed answers, what a prediction hides, the score."""
    check_numbers(content)
    return score(gates(content))


def gates(content: str) -> str:
    """Fold what stands between a prediction and its end mark, until the reader has chosen."""
    begin = re.compile(r"(?:<p>)?<!-- predict begin ([a-z0-9-]+) -->(?:</p>)?")
    end = re.compile(r"(?:<p>)?<!-- predict end -->(?:</p>)?")
    begins, ends = begin.findall(content), end.findall(content)
    if len(begins) != len(ends):
        build.fail(
            build.where(), f"{len(begins)} prediction(s), but {len(ends)} mark(s) <!-- predict end -->"
        )
        return content
    content = begin.sub(
        r'<details class="mm-gate" data-gate="\1"><summary>See what happens</summary>', content
    )
    return end.sub("</details>", content)


def score(content: str) -> str:
    """On a page with three graded questions or more, say at the end how many are right."""
    graded = len(re.findall(r'data-quiz="[^"]+" data-kind="(?!predict)', content))
    return content + ('<p class="mm-score" role="status"></p>' if graded > 2 else "")


def check_numbers(content: str) -> None:
    """A computed answer must be a number once it is computed."""
    for answer in re.findall(r'data-answer="([^"]*)"', content):
        if not NUMBER.match(answer):
            build.fail(build.where(), f"quiz: the computed answer {answer!r} is not a number")
