"""What everybody asks of a language model, whatever it is made of: its output, and to write, be saved and be read."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..tokenizer import SPECIAL_IDS
from . import generate as generation
from . import pretrained


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
    lm_head: nn.Linear = field(repr=False)
    loss: Tensor | None = None
    loss_sum: Tensor | None = None
    label_count: Tensor | None = None

    @cached_property
    def logits(self) -> Tensor:
        """`(B, T, V)`, computed when first looked at: training never needs all of them at once."""
        return self.lm_head(self.hidden_states)


class LanguageModel(nn.Module):
    """The verbs of a model; a subclass has the parts `config`, `model` and `lm_head`, and the forward."""

    config: ModelConfig
    model: Any
    lm_head: nn.Linear

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.generation_config: dict[str, Any] = dict(SPECIAL_IDS)

    def tie_weights(self) -> None:
        """Let parameters that are one matrix be one; called again after weights were read."""
        raise NotImplementedError

    def num_parameters(self, only_trainable: bool = False) -> int:
        """How many numbers the model has, or learns (those that are frozen left out); a tied matrix counts once."""
        return sum(
            weight.numel() for weight in self.parameters() if weight.requires_grad or not only_trainable
        )

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
        pretrained.save(self.config, self.generation_config, self.state_dict(), folder)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Self:
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
        weights = pretrained.read_weights(config, model.state_dict(), folder, dtype, device)
        model.load_state_dict(weights, assign=True)
        model.tie_weights()
        model.generation_config = pretrained.read_generation_config(folder)
        return model.eval()
