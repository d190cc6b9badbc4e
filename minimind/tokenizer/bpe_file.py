"""The file of a BPE: JSON, with each token in the characters that GPT-2's files show bytes by.

{"pattern": …, "special_tokens": ["<|endoftext|>"], "vocab": {"0": "<|endoftext|>", "1": "!", …},
 "merges": [["l", "o"], ["lo", "w"], ["Ġ", "low"]]}
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..errors import UserError
from ..files import replace_text
from .byte_characters import to_bytes, to_characters

Vocab = dict[int, bytes]
Merges = list[tuple[bytes, bytes]]


def write_bpe(
    path: str | os.PathLike[str], vocab: Vocab, merges: Merges, special_tokens: list[str], pattern: str
) -> None:
    """Write what makes a BPE."""
    content = {
        "pattern": pattern,
        "special_tokens": special_tokens,
        "vocab": {id: to_characters(token) for id, token in vocab.items()},
        "merges": [[to_characters(left), to_characters(right)] for left, right in merges],
    }
    try:
        replace_text(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"{path}: the tokenizer cannot be written ({error.strerror})") from None


def read_bpe(path: str | os.PathLike[str]) -> tuple[Vocab, Merges, list[str], str]:
    """Read what `write_bpe` wrote.

    Raises:
        UserError: if the file is missing or not of this form; the caller says which file.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        vocab = {int(id): to_bytes(shown) for id, shown in content["vocab"].items()}
        merges = [(to_bytes(left), to_bytes(right)) for left, right in content["merges"]]
        special_tokens, pattern = content["special_tokens"], content["pattern"]
        "".join([pattern, *special_tokens])  # All of them must be strings.
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})") from None
    except KeyError as error:
        raise UserError(f"not the file of a BPE, or damaged ({error} is missing or means no byte)") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"not the file of a BPE, or damaged ({error})") from None
    return vocab, merges, special_tokens, pattern
