"""The shape of a model: one dataclass, with the field names of Hugging Face's Llama and Qwen3 configs.

Nothing here imports torch, so the command line can read a config in milliseconds.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .errors import UserError

_AT_MOST = {
    "hidden_size": 2**17, "num_hidden_layers": 1000, "num_attention_heads": 2**12, "num_key_value_heads": 2**12,
    "head_dim": 2**12, "intermediate_size": 2**20, "vocab_size": 2**22, "max_position_embeddings": 2**30,
}  # fmt: skip
"""Whole numbers of a config, and limits far beyond any model: more is a slip of the finger."""
_DERIVED = {"num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size"}
_FROM_THE_OTHERS: Any = None
"""Default of a number that is derived from the others; once the config is made, it is a whole number."""
_ROPE_SCALING_KEYS = {
    "factor",
    "original_max_position_embeddings",
    "beta_fast",
    "beta_slow",
    "attention_factor",
}


@dataclass(frozen=True)
class ModelConfig:
    """Everything needed to build a model; what is left out is derived from `hidden_size`.

    Once made, it is complete and stays as it is; `dataclasses.replace` makes another one from it.

    Raises:
        UserError: if the numbers do not fit together, with the numbers that were found.

    Examples:
        >>> config = ModelConfig.preset("nano", vocab_size=1024)
        >>> config.head_dim, config.num_attention_heads
        (32, 4)
    """

    hidden_size: int = 512
    """Width of the residual stream: numbers per token between layers."""
    num_hidden_layers: int = 8
    """Transformer blocks, one after the other."""
    num_attention_heads: int = _FROM_THE_OTHERS
    """Query heads. Default: heads of 64 numbers (of 32 below a width of 256)."""
    num_key_value_heads: int = _FROM_THE_OTHERS
    """Key and value heads; each serves a group of query heads. Default: a quarter of the query heads, where that
    divides."""
    head_dim: int = _FROM_THE_OTHERS
    """Numbers per head. Default: hidden_size / num_attention_heads."""
    intermediate_size: int = _FROM_THE_OTHERS
    """Width inside the feed-forward layer. Default: 8/3 of hidden_size, rounded up to a multiple of 64."""
    vocab_size: int = 6400
    """Number of token ids, rows of the embedding."""
    max_position_embeddings: int = 2048
    """Longest sequence that the model is meant to read, in tokens."""
    rms_norm_eps: float = 1e-6
    """Added to the mean square inside RMSNorm, so that a zero vector divides by more than zero."""
    rope_theta: float = 1e6
    """Base of the rotary frequencies; a larger base turns the slow pairs more slowly."""
    rope_scaling: dict[str, Any] | None = None
    """YaRN, to read beyond the training length: rope_type, factor, original_max_position_embeddings, …; the latter
    is max_position_embeddings where it is left out."""
    tie_word_embeddings: bool = True
    """Use the embedding matrix again as the output layer."""
    qk_norm: bool = True
    """RMSNorm on each query and key head before the rotation (Qwen3); without it the model is a Llama."""
    dropout: float = 0.0
    """Share of numbers dropped, while training, from the embeddings and from each branch."""

    def __post_init__(self) -> None:
        for name in _AT_MOST:
            value = getattr(self, name)
            if value is None and name in _DERIVED:
                continue
            whole = isinstance(value, int) and not isinstance(value, bool)
            _require(whole, f"{name} must be a whole number, got {value!r}")
            _require(value >= 1, f"{name} must be at least 1, got {value}")
            _require(value <= _AT_MOST[name], f"{name} must be at most {_AT_MOST[name]:,}, got {value}")
        for name in ("rms_norm_eps", "rope_theta", "dropout"):
            value = getattr(self, name)
            _require(isinstance(value, int | float), f"{name} must be a number, got {value!r}")
        heads = self.num_attention_heads or _derive_heads(self.hidden_size, self.head_dim)
        heads_divide = self.hidden_size % heads == 0
        given = f"got hidden_size {self.hidden_size} and {heads} heads"
        llama = "without qk_norm this is a Llama, whose heads must divide hidden_size"
        _require(self.qk_norm or heads_divide, f"{llama}, {given}")
        head_dim, origin = self.head_dim, ""
        if head_dim is None:
            advice = "change one of them or set head_dim"
            _require(heads_divide, f"num_attention_heads must divide hidden_size, {given}; {advice}")
            head_dim, origin = self.hidden_size // heads, f" (hidden_size {self.hidden_size} / {heads} heads)"
        even = head_dim >= 2 and head_dim % 2 == 0
        _require(even, f"head_dim must be even for RoPE, got {head_dim}{origin}")
        key_value_heads = self.num_key_value_heads or next(heads // n for n in (4, 2, 1) if heads % n == 0)
        divides = heads % key_value_heads == 0
        given = f"got {key_value_heads} and {heads}"
        _require(divides, f"num_key_value_heads must divide num_attention_heads, {given}")
        _require(0 <= self.dropout < 1, f"dropout must be at least 0 and below 1, got {self.dropout}")
        _require(self.rms_norm_eps >= 0, f"rms_norm_eps must be at least 0, got {self.rms_norm_eps}")
        _require(self.rope_theta > 0, f"rope_theta must be positive, got {self.rope_theta}")
        self._complete("num_attention_heads", heads)
        self._complete("num_key_value_heads", key_value_heads)
        self._complete("head_dim", head_dim)
        intermediate_size = self.intermediate_size or 64 * math.ceil(self.hidden_size * 8 / 3 / 64)
        self._complete("intermediate_size", intermediate_size)
        if self.rope_scaling is not None:
            scaling = _check_rope_scaling(self.rope_scaling, self.max_position_embeddings)
            self._complete("rope_scaling", scaling)

    def _complete(self, name: str, value: Any) -> None:
        """Set a field of the config while it is made; nothing sets one later, as the dataclass is frozen."""
        object.__setattr__(self, name, value)

    @classmethod
    def preset(cls, name: str, **changes: Any) -> ModelConfig:
        """Build one of the named sizes.

        Args:
            name: `nano`, `tiny`, `small`, `base` or `medium`.
            **changes: fields that differ from the preset.
        """
        if name not in PRESETS:
            raise UserError(f"no preset named {name!r}; there are {', '.join(PRESETS)}")
        return cls(**{**PRESETS[name], **changes})

    def to_hugging_face(self) -> dict[str, Any]:
        """The contents of `config.json`, as `transformers` reads it.

        Both spellings of the rotary settings are written: older readers take `rope_theta` and `rope_scaling`,
        transformers 5 takes `rope_parameters`.
        """
        rope = {"rope_type": "default", **(self.rope_scaling or {}), "rope_theta": self.rope_theta}
        return {
            "architectures": ["Qwen3ForCausalLM" if self.qk_norm else "LlamaForCausalLM"],
            "model_type": "qwen3" if self.qk_norm else "llama",
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "intermediate_size": self.intermediate_size,
            "vocab_size": self.vocab_size,
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": self.rope_scaling,
            "rope_parameters": rope,
            "tie_word_embeddings": self.tie_word_embeddings,
            "hidden_act": "silu",
            "attention_bias": False,
            "mlp_bias": False,
            "attention_dropout": 0.0,
            "initializer_range": 0.02,
            "use_cache": True,
            "torch_dtype": "float32",
            "dropout": self.dropout,
        }

    @classmethod
    def from_hugging_face(cls, data: dict[str, Any]) -> ModelConfig:
        """Read the contents of a Llama or Qwen3 `config.json`.

        Raises:
            UserError: if the model has a part that this package does not build.
        """
        kind = data.get("model_type")
        if kind not in ("llama", "qwen3"):
            raise UserError(f"model_type is {kind!r}; this package reads 'llama' and 'qwen3'")
        for name, plain in (("attention_bias", False), ("mlp_bias", False), ("hidden_act", "silu")):
            if data.get(name, plain) != plain:
                raise UserError(
                    f"{name} is {data[name]!r}; this package builds models with {name} {plain!r} only"
                )
        if data.get("use_sliding_window"):
            raise UserError("use_sliding_window is true; this package builds full attention only")
        rope = dict(data.get("rope_parameters") or {})
        theta = rope.pop("rope_theta", data.get("rope_theta", 10000.0))
        scaling = data.get("rope_scaling") or rope
        _require(isinstance(scaling, dict), f"rope_scaling must be a dictionary, got {scaling!r}")
        scaling = {key: value for key, value in scaling.items() if key != "rope_theta"}
        if scaling.get("rope_type", scaling.get("type", "default")) == "default":
            scaling = None
        names = {field.name for field in fields(cls)} - {"rope_theta", "rope_scaling", "qk_norm"}
        known = {name: data[name] for name in names if data.get(name) is not None}
        known.setdefault("num_key_value_heads", data.get("num_attention_heads"))
        known.setdefault("tie_word_embeddings", False)
        _require(isinstance(theta, int | float), f"rope_theta must be a number, got {theta!r}")
        return cls(**known, rope_theta=float(theta), rope_scaling=scaling, qk_norm=kind == "qwen3")

    def save(self, folder: str | Path) -> None:
        """Write `config.json` into a folder."""
        path = Path(folder) / "config.json"
        path.write_text(json.dumps(self.to_hugging_face(), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> ModelConfig:
        """Read `config.json` from a folder.

        Raises:
            UserError: if the file is missing or is not a model's config.
        """
        path = Path(folder) / "config.json"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(
                f"{folder}: no config.json there; a run's folder has config.json and model.safetensors"
            ) from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: not valid JSON ({error})") from None
        if not isinstance(data, dict):
            raise UserError(f"{path}: expected a JSON object, found {type(data).__name__}")
        try:
            return cls.from_hugging_face(data)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None


PRESETS: dict[str, dict[str, Any]] = {
    "nano": {
        "hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 384, "vocab_size": 1024, "max_position_embeddings": 512, "rope_theta": 1e4,
    },
    "tiny": {
        "hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 704, "vocab_size": 2048, "max_position_embeddings": 1024, "rope_theta": 1e4,
    },
    "small": {
        "hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 2,
        "intermediate_size": 1408,
    },
    "base": {
        "hidden_size": 768, "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 4,
        "intermediate_size": 2432,
    },
    "medium": {
        "hidden_size": 768, "num_hidden_layers": 16, "num_attention_heads": 8, "num_key_value_heads": 2,
        "intermediate_size": 2048,
    },
}  # fmt: skip


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise UserError(message)


def _derive_heads(hidden_size: int, head_dim: int | None) -> int:
    if head_dim is not None:
        return max(1, hidden_size // head_dim)
    target = 64 if hidden_size >= 256 else 32
    for heads in range(max(1, hidden_size // target), 0, -1):
        if hidden_size % (2 * heads) == 0:
            return heads
    raise UserError(f"hidden_size must be even, got {hidden_size}")


def _check_rope_scaling(scaling: dict[str, Any], max_position_embeddings: int) -> dict[str, Any]:
    _require(isinstance(scaling, dict), f"rope_scaling must be a dictionary, got {scaling!r}")
    scaling = {key: value for key, value in scaling.items() if key != "rope_theta"}
    kind = scaling.pop("type", None)
    kind = scaling.pop("rope_type", kind)
    unknown = sorted(set(scaling) - _ROPE_SCALING_KEYS)
    _require(not unknown, f"rope_scaling does not know {', '.join(unknown)}")
    _require(kind == "yarn", f"rope_scaling: rope_type must be 'yarn', got {kind!r}")
    for name, value in scaling.items():
        _require(
            value is None or (isinstance(value, int | float) and value > 0),
            f"rope_scaling: {name} must be a positive number, got {value!r}",
        )
    _require(
        (scaling.get("factor") or 0) >= 1,
        f"rope_scaling: factor must be at least 1, got {scaling.get('factor')}",
    )
    scaling = {name: value for name, value in scaling.items() if value is not None}
    return {"rope_type": "yarn", "original_max_position_embeddings": max_position_embeddings, **scaling}
