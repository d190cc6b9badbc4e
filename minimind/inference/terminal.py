"""`minimind chat`: talk with a model in the terminal, or through a pipe.

The answers go to stdout and everything else to stderr, so that a pipe gets what the model says and nothing else.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import json
import sys
import unicodedata
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from ..arguments import complain, explain_os_error
from ..device import choose_device
from ..errors import UserError
from ..model import load
from ..progress import counted
from ..settings import ChatSettings
from .chat import Chat

HELP = {
    "/reset": "forget what was said",
    "/system TEXT": "tell the model TEXT before everything else; without TEXT, nothing",
    "/save FILE": "add the conversation to FILE, as a row that `minimind sft` can train on",
    "/model RUN": "let another model go on with the conversation",
    "/help": "list the commands",
    "/exit": "leave; Ctrl-D does so too",
}
HIDDEN = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
"""What does not show itself, by its category in Unicode: signs that control a terminal or turn a line's direction,
halves of characters, private ones, separators."""
HARMLESS = ("\n", "\t", "\N{ZERO WIDTH JOINER}")
"""Of these, the ones that are shown as they are; the last joins several emoji to one."""


def chat(given: ChatSettings, watch: Callable[[Iterable[Tensor]], Iterable[Tensor]] = iter) -> None:
    """Talk until the input ends.

    Args:
        given: what `minimind chat --help` lists.
        watch: sees the tokens of an answer pass, one a step.

    Raises:
        UserError: if there is no such run, or it cannot be read.
    """
    Terminal(open_chat(given, watch), given).run()


def open_chat(given: ChatSettings, watch: Callable[[Iterable[Tensor]], Iterable[Tensor]] = iter) -> Chat:
    """Load a run, with its adapters where some are given."""
    device = choose_device(given.device)
    model, tokenizer = load(given.run, given.adapter)
    return Chat(model.to(device), tokenizer, given, given.system, watch)


def visible(text: str) -> str:
    """Text as a terminal may have it: signs that would control the terminal, or hide, become their codes.

    Examples:
        >>> print(visible("red: \\x1b[31m, 日本"))
        red: \\x1b[31m, 日本
    """
    return "".join(
        ascii(sign)[1:-1] if unicodedata.category(sign) in HIDDEN and sign not in HARMLESS else sign
        for sign in text
    )


class Terminal:
    """Reads lines, shows answers, obeys commands.

    Args:
        chat: the conversation.
        given: with what another model is opened.
    """

    def __init__(self, chat: Chat, given: ChatSettings) -> None:
        self.chat, self.given = chat, given
        self.interactive = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
        self.said_forgotten = False
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="replace")  # Bytes that are no text must not end a conversation.
        if self.interactive:
            with contextlib.suppress(ImportError):  # Windows has none, and edits lines by itself.
                import readline  # noqa: F401 - being imported is what it does: `input` has arrows and a history

    def run(self) -> None:
        """Talk until the input ends, or the user leaves."""
        if self.interactive:
            say("Say something. /help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves.")
        interrupted = False
        while True:
            try:
                line = self.read()
            except KeyboardInterrupt:
                if not self.interactive:
                    raise
                if interrupted:
                    say("")
                    return
                interrupted = True
                say("\n(once more, or Ctrl-D, to leave)")
                continue
            interrupted = False
            words = (line or "").strip()
            if line is None or words == "/exit":
                return
            try:
                if words.startswith("/"):
                    self.obey(words)
                elif words:
                    self.answer(words)
            except UserError as error:
                complain(visible(str(error)))
            except KeyboardInterrupt:
                say("\n(stopped)")

    def read(self) -> str | None:
        """The next line, or None at the end."""
        if not self.interactive:
            return (sys.stdin.readline() or None) if sys.stdin is not None else None
        try:
            return input("> ")
        except EOFError:
            say("")
            return None

    def answer(self, words: str) -> None:
        """Show the answer while it is written, then how fast that was."""
        shown = visible if sys.stdout.isatty() else str
        chat, something = self.chat, False
        with closing(chat.reply(words)) as pieces:  # Whoever stops it keeps what was written.
            for piece in pieces:
                something = something or not piece.isspace()
                print(shown(piece), end="", flush=True)
        print(flush=True)
        if not something:
            say("(the model says nothing; it forgets the question)")
        if chat.prompt.cut:
            say("(the message is longer than the model's context: it has read only the end)")
        if chat.prompt.forgotten and not self.said_forgotten:
            say(
                "(the conversation is longer than the model's context: from now on it forgets the oldest turns)"
            )
            self.said_forgotten = True
        limit = ", the most it may write" if chat.tokens == chat.limit else ""
        say(
            f"[{counted(chat.tokens, 'token')}{limit}; {chat.tokens / max(chat.seconds, 1e-9):,.0f} tokens/s]"
        )

    def obey(self, words: str) -> None:
        """Carry out a command."""
        name, _, rest = words.partition(" ")
        commands = {
            "/reset": self.reset, "/system": self.system, "/save": self.save, "/model": self.model, "/help": self.help,
        }  # fmt: skip
        if name not in commands:
            near = difflib.get_close_matches(name, [*commands, "/exit"], n=1)
            advice = f"did you mean {near[0]}?" if near else "/help lists them"
            raise UserError(f"no command {name}; {advice}")
        commands[name](rest.strip())

    def reset(self, _: str) -> None:
        self.chat.messages.clear()
        self.said_forgotten = False
        say("(a new conversation)")

    def system(self, text: str) -> None:
        self.chat.system = text
        say("(the system message is set)" if text else "(there is no system message now)")

    def save(self, name: str) -> None:
        if not name:
            raise UserError("/save needs a file, such as /save talk.jsonl")
        if not self.chat.messages:
            raise UserError("nothing was said yet that could be saved")
        row = json.dumps({"conversations": self.chat.conversation}, ensure_ascii=False)
        try:
            path, line = Path(name).expanduser(), f"{row}\n".encode()
        except RuntimeError as error:  # ~somebody, whom this machine does not know
            raise UserError(f"/save: {error}") from None
        except UnicodeEncodeError:
            raise UserError("/save: the conversation has half a character, which no file can hold") from None
        try:
            before = path.read_bytes()[-1:] if path.is_file() else b""
            with open(path, "ab") as file:
                file.write(line if before in (b"", b"\n") else b"\n" + line)
        except OSError as error:
            raise UserError(explain_os_error(error)) from None
        except ValueError as error:
            raise UserError(f"/save: no file can have this name ({error})") from None
        say(visible(f"({path}: a row of {len(self.chat.conversation)} messages was added)"))

    def model(self, run: str) -> None:
        if not run:
            raise UserError("/model needs a run, such as /model full_sft")
        opened = open_chat(replace(self.given, run=run, adapter=()), self.chat.watch)
        opened.system, opened.messages = self.chat.system, self.chat.messages
        self.chat, self.said_forgotten = opened, False
        say(f"({run} goes on)")

    def help(self, _: str) -> None:
        say("\n".join(f"  {name:<14} {what}" for name, what in HELP.items()))


def say(words: str) -> None:
    """Print what is not the model's."""
    print(words, file=sys.stderr, flush=True)
