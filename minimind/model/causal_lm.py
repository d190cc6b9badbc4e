"""The whole model: embedding, blocks, norm and output layer, and what training and generation ask of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..tokenizer import SPECIAL_IDS
from . import generate as generation
from . import pretrained
from .attention import ATTENTION_PATHS, Attention, manual_bias
from .block import TransformerBlock
from .cache import KVCache
from .cross_entropy import chunked_cross_entropy
from .masks import document_positions, document_runs, look_mask
from .norm import RMSNorm
from .rope import rope_frequencies, rotation

IGNORE = -100


@dataclass
class CausalLMOutput:
    """What a forward gives.

    Attributes:
        hidden_states: `(B, T, hidden_size)`, after the last norm.
        aux_loss: a loss beside the main one, its coefficient applied; zero for a dense model.
        loss: mean cross-entropy in nats over the counted labels; None without labels.
        loss_sum: the sum of which `loss` is the mean.
        label_count: how many labels counted.
    """

    hidden_states: Tensor
    aux_loss: Tensor
    loss: Tensor | None = None
    loss_sum: Tensor | None = None
    label_count: Tensor | None = None
    lm_head: nn.Linear | None = field(default=None, repr=False)

    @cached_property
    def logits(self) -> Tensor:
        """`(B, T, vocab_size)`, computed when first looked at: training never needs all of them at once."""
        assert self.lm_head is not None
        return self.lm_head(self.hidden_states)


class Decoder(nn.Module):
    """From ids to hidden states: everything but the output layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(TransformerBlock(config, i) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.dropout = nn.Dropout(config.dropout)
        # Not a buffer: a model that is turned to bf16 keeps its frequencies in fp32.
        self.frequencies = rope_frequencies(int(config.head_dim or 0), config.rope_theta, config.rope_scaling)

    def forward(
        self, input_ids: Tensor, positions: Tensor, mask: Tensor | None, cache: KVCache | None
    ) -> Tensor:
        if self.frequencies.device != input_ids.device:
            self.frequencies = self.frequencies.to(input_ids.device)
        cos, sin = rotation(positions, self.frequencies)  # (B or 1, T, D)
        table = cos[:, :, None], sin[:, :, None]  # (B or 1, T, 1, D): the same for all heads
        x = self.dropout(self.embed_tokens(input_ids))  # (B, T, hidden_size)
        for layer in self.layers:
            x = layer(x, table, mask, cache)
        return self.norm(x)


class MiniMind(nn.Module):
    """A decoder-only language model; its state dict has the names of Hugging Face's Llama and Qwen3.

    Args:
        config: the model's shape.

    Examples:
        >>> model = MiniMind(ModelConfig.preset("nano", vocab_size=1024))
        >>> model(torch.tensor([[1, 5, 9]])).logits.shape
        torch.Size([1, 3, 1024])
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = _complete(config)
        self.generation_config: dict[str, Any] = dict(SPECIAL_IDS)
        self.model = Decoder(self.config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.attention_path = "sdpa"
        self.tie_weights()
        self.init_weights()

    def tie_weights(self) -> None:
        """Let the output layer use the embedding matrix, if the config says so."""
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    @torch.no_grad()
    def init_weights(self) -> None:
        """Draw every matrix from a normal distribution of width 0.02.

        The two matrices of a block that write into the stream are drawn narrower, by sqrt(2 * layers): a sum
        of 2 * layers independent branches is that much wider than one. So the stream leaves the last block as
        wide as if one branch had been added, however deep the model.
        """
        narrow = 0.02 / math.sqrt(2 * self.config.num_hidden_layers)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                nn.init.normal_(
                    weight, std=narrow if name.endswith(("o_proj.weight", "down_proj.weight")) else 0.02
                )

    def set_attention_path(self, name: str) -> None:
        """Choose how attention is computed.

        Args:
            name: `sdpa`, PyTorch's own kernel; or `manual`, plain matrix products, faster in bf16 training on
                a CPU with bf16 units and rows up to 512. With a cache it is always `sdpa`.
        """
        if name not in ATTENTION_PATHS:
            raise ValueError(f"attention_path must be one of {', '.join(ATTENTION_PATHS)}, got {name!r}")
        self.attention_path = name
        for module in self.modules():
            if isinstance(module, Attention):
                module.attention_path = name

    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        document_ids: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> CausalLMOutput:
        """Read the rows, and with labels, how well each next token was foreseen.

        Args:
            input_ids: `(B, T)`.
            labels: `(B, T)`, usually `input_ids` again: the shift by one happens inside. -100 is left out.
            attention_mask: `(B, S)`, 0 on padding, S = cached tokens + T; positions count the ones.
            position_ids: `(B or 1, T)`; default: 0, 1, 2, … after what is cached.
            document_ids: `(B, T)`, which document of the row a token belongs to, -1 on padding. Tokens see
                their own document only, positions start again, and no label crosses a border.
            cache: keys and values of the tokens before.

        Raises:
            ValueError: if shapes do not fit or an id is not in the vocabulary.
        """
        self._check(input_ids, labels, attention_mask, position_ids, document_ids, cache)
        length, device = input_ids.shape[1], input_ids.device
        past = cache.length if cache is not None else 0
        runs = document_runs(document_ids) if document_ids is not None else None  # (B, T)
        if position_ids is None:
            if runs is not None:
                position_ids = document_positions(runs)
            elif attention_mask is not None:
                position_ids = (attention_mask.long().cumsum(dim=1) - 1).clamp(min=0)[:, past:]
            else:
                position_ids = torch.arange(past, past + length, device=device)[None]
        mask = look_mask(length, past + length, device, runs, attention_mask)
        if self.attention_path == "manual" and cache is None:
            mask = manual_bias(mask, length, self.config, self._matmul_dtype(), device)
        hidden = self.model(input_ids, position_ids, mask, cache)  # (B, T, hidden_size)
        if cache is not None:
            cache.advance(length)
        output = CausalLMOutput(hidden, aux_loss=hidden.new_zeros(()), lm_head=self.lm_head)
        if labels is not None:
            self._add_loss(output, labels, attention_mask, document_ids)
        return output

    def _add_loss(
        self,
        output: CausalLMOutput,
        labels: Tensor,
        attention_mask: Tensor | None,
        document_ids: Tensor | None,
    ) -> None:
        targets = labels[:, 1:]  # token t is asked for token t + 1
        counted = targets != IGNORE  # (B, T-1)
        if document_ids is not None:
            counted = counted & (document_ids[:, 1:] == document_ids[:, :-1]) & (document_ids[:, 1:] >= 0)
        if attention_mask is not None:
            counted = counted & attention_mask[:, -labels.shape[1] : -1].bool()  # padding foresees nothing
        hidden = output.hidden_states[:, :-1][counted]  # (N, hidden_size)
        output.loss_sum = chunked_cross_entropy(hidden, self.lm_head.weight, targets[counted])
        output.label_count = counted.sum()
        output.loss = output.loss_sum / output.label_count.clamp(min=1)  # no labels: zero, not 0 / 0

    def _matmul_dtype(self) -> torch.dtype:
        device = self.lm_head.weight.device.type
        return (
            torch.get_autocast_dtype(device)
            if torch.is_autocast_enabled(device)
            else self.lm_head.weight.dtype
        )

    def _check(
        self,
        input_ids: Tensor,
        labels: Tensor | None,
        attention_mask: Tensor | None,
        position_ids: Tensor | None,
        document_ids: Tensor | None,
        cache: KVCache | None,
    ) -> None:
        if input_ids.dim() != 2 or input_ids.numel() == 0:
            raise ValueError(
                f"input_ids must be (batch, length), none of them 0, got {tuple(input_ids.shape)}"
            )
        batch, length = input_ids.shape
        keys = length + (cache.length if cache is not None else 0)
        expected = {
            "labels": (labels, (batch, length)),
            "attention_mask": (attention_mask, (batch, keys)),
            "document_ids": (document_ids, (batch, length)),
        }
        for name, (tensor, shape) in expected.items():
            if tensor is not None and tuple(tensor.shape) != shape:
                raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")
        if position_ids is not None and tuple(position_ids.shape) not in {(batch, length), (1, length)}:
            raise ValueError(
                f"position_ids must have shape {(batch, length)}, got {tuple(position_ids.shape)}"
            )
        if document_ids is not None and cache is not None:
            raise ValueError("document_ids are for whole rows; a cache continues one document a row")
        if input_ids.device.type != "cpu" or torch.compiler.is_compiling():
            return  # Looking at the values would make a GPU wait; its own check stops it, less politely.
        _check_range("input_ids", input_ids, 0, self.config.vocab_size)
        if labels is not None:
            _check_range("labels", labels[labels != IGNORE], 0, self.config.vocab_size)

    def num_parameters(self) -> int:
        """How many numbers are trained; a tied matrix counts once."""
        return sum(weight.numel() for weight in self.parameters())

    def generate(self, input_ids: Tensor, attention_mask: Tensor | None = None, **settings: Any) -> Tensor:
        """Continue the prompts; see `minimind.model.generate.generate` for the settings."""
        return generation.generate(self, input_ids, attention_mask, **settings)

    def stream(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **settings: Any
    ) -> Iterator[Tensor]:
        """Continue the prompts and hand over each step's ids as they come; see `minimind.model.generate`."""
        return generation.stream(self, input_ids, attention_mask, **settings)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a folder that `from_pretrained` and Hugging Face's `AutoModelForCausalLM` read."""
        pretrained.save(self, folder)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> MiniMind:
        """Read a folder that `save_pretrained` or Hugging Face wrote.

        Args:
            folder: with `config.json` and `model.safetensors`, and `generation_config.json` where there is one.
            dtype: what the weights are turned to.
            device: where they go.

        Raises:
            UserError: if a file is missing or damaged, or tensors do not fit the config.
        """
        config = ModelConfig.load(folder)
        with torch.device("meta"):  # no memory, no random numbers: the weights are about to be read
            model = cls(config)
        model.load_state_dict(pretrained.read_weights(model, folder, dtype, device), assign=True)
        model.tie_weights()
        model.generation_config = pretrained.read_generation_config(folder)
        return model.eval()


def _complete(config: ModelConfig) -> ModelConfig:
    """YaRN without a trained length means the length that the config names."""
    if config.rope_scaling is not None:
        config.rope_scaling.setdefault("original_max_position_embeddings", config.max_position_embeddings)
    return config


def _check_range(name: str, ids: Tensor, low: int, high: int) -> None:
    if ids.numel() == 0:
        return
    smallest, largest = (int(value) for value in torch.aminmax(ids))
    if smallest < low or largest >= high:
        wrong = smallest if smallest < low else largest
        raise ValueError(f"{name} has the id {wrong}; the vocabulary has ids {low} to {high - 1}")
