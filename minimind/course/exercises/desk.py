"""A reader's desk: the folder with their files, and what they have passed so far.

`minimind exercise` and the pages' checks go through here. What is kept lies beside the files, in `progress.json`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...files import replace_text
from .catalog import MODULES, find_task
from .task import Task

OPENING = '''"""{title}

Write the body, then check it:  minimind exercise check {name}
A hint:                         minimind exercise hint {name}
"""

'''


class Desk:
    """The folder of a reader's exercises.

    Args:
        folder: made when the first exercise is started.

    Raises:
        UserError: if it is a file, or its progress.json is damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"{self.folder}: a file stands where the folder of your exercises should be")
        self.notes = self.folder / "progress.json"
        self.progress: dict[str, dict[str, Any]] = self._read()

    def file(self, name: str) -> Path:
        """Where the reader's file of an exercise lies."""
        return self.folder / f"{name}.py"

    def start(self, task: Task) -> Path:
        """Write the file that the reader completes.

        Raises:
            UserError: if it is there already: it is the reader's work.
        """
        path = self.file(task.name)
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with open(path, "x", encoding="utf-8") as file:
                file.write(OPENING.format(title=task.title, name=task.name) + task.start())
        except FileExistsError:
            raise UserError(
                f"{path}: is there already and stays as it is; to start over, move it away"
            ) from None
        return path

    def hint(self, task: Task) -> tuple[int, str]:
        """The next hint, and which of the three it is; after the last one it is the last again."""
        number = min(self.progress.get(task.name, {}).get("hints", 0), 2)
        self._keep(task.name, hints=number + 1)
        return number + 1, task.hints[number]

    def passed(self, task: Task) -> None:
        """Keep that the file as it is now has passed."""
        self._keep(task.name, passed=_digest(self.file(task.name)))

    def state(self, name: str) -> str:
        """`passed`, `changed` (passed, then edited), `started` or `open`."""
        path = self.file(name)
        if not path.is_file():
            return "open"
        digest = self.progress.get(name, {}).get("passed")
        if digest is None:
            return "started"
        return "passed" if digest == _digest(path) else "changed"

    def rows(self) -> list[dict[str, Any]]:
        """All exercises with module, title, minutes and state, in the order of the path."""
        rows = []
        for module, names in MODULES.items():
            for name in names:
                task = find_task(name)
                rows.append(
                    {
                        "name": name,
                        "module": module,
                        "title": task.title,
                        "minutes": task.minutes,
                        "core": task.core,
                        "state": self.state(name),
                    }
                )
        return rows

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            found = json.loads(self.notes.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (ValueError, NotADirectoryError):
            found = None
        if not isinstance(found, dict) or not all(isinstance(entry, dict) for entry in found.values()):
            raise UserError(f"{self.notes}: damaged; delete it and check your exercises again")
        return found

    def _keep(self, name: str, **facts: Any) -> None:
        self.progress[name] = {**self.progress.get(name, {}), **facts}
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_text(self.notes, json.dumps(self.progress, indent=2) + "\n")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
