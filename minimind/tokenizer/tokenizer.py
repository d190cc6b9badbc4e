"""The tokenizer that everybody uses: the `tokenizers` library, which gives the ids of `bpe.py`, faster."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import tokenizers

from ..errors import UserError
from ..files import replace_text
from .bpe import BPE
from .byte_characters import to_bytes
from .chat_template import CHAT_TEMPLATE
from .checks import check_text

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""Ids 0, 1, 2: padding; the start of a document or message; its end."""
SPECIAL_IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
"""The same ids, by the names that `generation_config.json` has for them."""


class Tokenizer:
    """Text to ids and back.

    `encode` never reads special tokens out of text: a text that spells `<|im_end|>` is encoded letter by
    letter. Special tokens are put in by id (`bos_token_id` …), so no input can forge one.

    Args:
        backend: a tokenizer of the `tokenizers` library.
        pad_token: the special token that fills rows up.
        bos_token: the special token that starts a document.
        eos_token: the special token that ends one.

    Examples:
        >>> from minimind.tokenizer import train_tokenizer
        >>> tokenizer = train_tokenizer(["low lower lowest"], vocab_size=262)
        >>> tokenizer.encode("low"), tokenizer.decode([260, 260])
        ([260], 'lowlow')
    """

    def __init__(self, backend: tokenizers.Tokenizer, pad_token: str, bos_token: str, eos_token: str) -> None:
        self.pad_token, self.bos_token, self.eos_token = pad_token, bos_token, eos_token
        self._backend = backend
        self.pad_token_id = self._id_of(pad_token)
        self.bos_token_id = self._id_of(bos_token)
        self.eos_token_id = self._id_of(eos_token)
        self._settings = json.loads(backend.to_str())
        self._settings["post_processor"] = self._start_a_text()
        self._saved = _to_json(self._settings)
        self._backend = tokenizers.Tokenizer.from_str(self._saved)
        self._backend.encode_special_tokens = True  # a setting of this process: it is not saved
        self._bytes: dict[int, bytes] | None = None

    def _id_of(self, token: str) -> int:
        id = self._backend.token_to_id(token)
        if id is None:
            raise UserError(f"the tokenizer has no token {token!r}")
        return id

    def _start_a_text(self) -> dict[str, Any]:
        """What makes `transformers` begin a text with the start token, as a document begins in training.

        Our own `encode` leaves special tokens to its caller. The library has a short form for this, in which some
        signs that a token may have mean something else.
        """
        token = self.bos_token
        start = {"SpecialToken": {"id": token, "type_id": 0}}
        first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
        return {
            "type": "TemplateProcessing",
            "single": [start, first],
            "pair": [start, first, start, second],
            "special_tokens": {token: {"id": token, "ids": [self.bos_token_id], "tokens": [token]}},
        }

    @property
    def vocab_size(self) -> int:
        """Number of ids, special tokens included."""
        return self._backend.get_vocab_size()

    @property
    def special_ids(self) -> dict[str, int]:
        """Ids of padding, start and end, by the names that `generation_config.json` has for them."""
        return {name: getattr(self, name) for name in SPECIAL_IDS}

    @property
    def digest(self) -> str:
        """SHA-256 of all that `encode` depends on: two tokenizers with the same digest give the same ids."""
        return hashlib.sha256(_to_json({**self._settings, "post_processor": None}).encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Turn text into ids.

        Raises:
            UserError: if the text holds a lone surrogate, which UTF-8 cannot write.
        """
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Turn many texts into ids, on all cores."""
        try:
            encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        except (UnicodeEncodeError, TypeError):
            for text in texts:
                check_text(text)
            raise
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        """The text that the ids stand for; bytes that are no UTF-8 become the replacement character."""
        return self._backend.decode([int(id) for id in ids], skip_special_tokens=skip_special_tokens)

    @property
    def is_byte_level(self) -> bool:
        """Whether each token is spelled in bytes, as those of this package and of GPT-2 are; others are not ours."""
        return isinstance(self._backend.decoder, tokenizers.decoders.ByteLevel)

    def bytes_of(self, id: int) -> bytes:
        """The bytes that `decode(…, skip_special_tokens=True)` reads an id as: none for a special or unknown one."""
        if self._bytes is None:
            special = self._backend.get_added_tokens_decoder()
            vocab = self.to_bpe().vocab.items()
            self._bytes = {id: b"" if id in special and special[id].special else token for id, token in vocab}
        return self._bytes.get(int(id), b"")

    def to_bpe(self) -> BPE:
        """The readable tokenizer with the same vocabulary and merges (and no special tokens in its text)."""
        special = {token.content for token in self._backend.get_added_tokens_decoder().values()}
        vocab = {
            id: token.encode() if token in special else to_bytes(token)
            for token, id in sorted(self._backend.get_vocab().items(), key=lambda item: item[1])
        }
        merges = self._settings["model"]["merges"]
        return BPE(vocab, [(to_bytes(left), to_bytes(right)) for left, right in merges])

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write `tokenizer.json` and `tokenizer_config.json`, which `transformers.AutoTokenizer` reads."""
        # Nothing here says whether a text gets a start token: the post-processor in tokenizer.json does.
        config = {
            # Without this name, a Qwen3 config beside it makes transformers build another tokenizer.
            "tokenizer_class": "PreTrainedTokenizerFast",
            "pad_token": self.pad_token,
            "bos_token": self.bos_token,
            "eos_token": self.eos_token,
            "clean_up_tokenization_spaces": False,
            "chat_template": CHAT_TEMPLATE,
        }
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            replace_text(folder / "tokenizer.json", self._saved + "\n")
            text = json.dumps(config, indent=2, ensure_ascii=False)
            replace_text(folder / "tokenizer_config.json", text + "\n")
        except OSError as error:
            reason = (
                "a file of that name is in the way" if isinstance(error, FileExistsError) else error.strerror
            )
            raise UserError(f"{folder}: the tokenizer cannot be written ({reason})") from None

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Tokenizer:
        """Read a tokenizer that `save` wrote.

        Raises:
            UserError: if a file is missing or broken, or names no padding, start or end token.
        """
        folder = Path(folder)
        try:
            backend = tokenizers.Tokenizer.from_str(_read(folder / "tokenizer.json"))
        except UserError:
            raise
        except Exception as error:  # The library raises plain `Exception` for a file that it cannot read.
            raise UserError(f"{folder / 'tokenizer.json'}: not a tokenizer ({error})") from None
        path = folder / "tokenizer_config.json"
        try:
            config = json.loads(_read(path))
        except json.JSONDecodeError as error:
            raise UserError(f"{path}: not valid JSON ({error})") from None
        names = [_token_name(config, key) for key in ("pad_token", "bos_token", "eos_token")]
        if None in names:
            raise UserError(f"{path}: pad_token, bos_token and eos_token must name tokens, found {names}")
        try:
            return cls(backend, *(str(name) for name in names))
        except UserError as error:
            raise UserError(f"{path}: {error}") from None


def _to_json(settings: dict[str, Any]) -> str:
    """As the library itself writes it: short, and with all letters."""
    return json.dumps(settings, ensure_ascii=False, separators=(",", ":"))


def _token_name(config: Any, key: str) -> str | None:
    token = config.get(key) if isinstance(config, dict) else None
    return token.get("content") if isinstance(token, dict) else token


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: not found; `minimind tokenizer` makes it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
