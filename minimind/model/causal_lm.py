"""The whole model: embedding, blocks, norm, output layer and loss.

B: rows of the batch. T: new tokens of a row. S: tokens that can be seen, cached ones included. V: `vocab_size`.
"""

import math

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from .block import TransformerBlock
from .cache import KVCache
from .cross_entropy import chunked_cross_entropy
from .language_model import CausalLMOutput, LanguageModel
from .masks import IGNORE, Borders, check_inputs
from .norm import RMSNorm
from .rope import rope_frequencies, rotation


class Decoder(nn.Module):
    """From ids to hidden states: everything but the output layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(TransformerBlock(config, i) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.dropout = nn.Dropout(config.dropout)
        # Not a buffer: a model that is turned to bf16 keeps its frequencies in fp32.
        self.frequencies = rope_frequencies(config.head_dim, config.rope_theta, config.rope_scaling)

    def forward(
        self, input_ids: Tensor, positions: Tensor, borders: Borders, cache: KVCache | None = None
    ) -> tuple[Tensor, Tensor]:
        """Hidden states `(B, T, hidden_size)`, and the sum of the layers' losses beside the main one."""
        if self.frequencies.device != input_ids.device:
            self.frequencies = self.frequencies.to(input_ids.device)
        cos, sin = rotation(positions, self.frequencies)  # (B or 1, T, D/2)
        cos_sin = cos[:, :, None], sin[:, :, None]  # (B or 1, T, 1, D/2): the same for all heads
        x = self.dropout(self.embed_tokens(input_ids))  # (B, T, hidden_size)
        aux_loss = x.new_zeros(())
        for layer in self.layers:
            x = layer(x, cos_sin, borders, cache)  # (B, T, hidden_size)
            aux_loss = aux_loss + layer.aux_loss
        return self.norm(x), aux_loss


class MiniMind(LanguageModel):
    """A decoder-only language model; its state dict has the names of Hugging Face's Llama and Qwen3.

    Args:
        config: the model's shape.

    Examples:
        >>> model = MiniMind(ModelConfig.preset("nano", vocab_size=1024))
        >>> model(torch.tensor([[1, 5, 9]])).logits.shape
        torch.Size([1, 3, 1024])
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.model = Decoder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
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
                writes = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(weight, std=narrow if writes else 0.02)

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
            ValueError: if shapes do not fit or, on a CPU, an id is not in the vocabulary.
        """
        check_inputs(self.config, input_ids, labels, attention_mask, position_ids, document_ids, cache)
        T = input_ids.shape[1]
        S = T + (cache.length if cache is not None else 0)
        borders = Borders(T, S, input_ids.device, document_ids, attention_mask)
        positions = borders.positions() if position_ids is None else position_ids
        hidden, aux_loss = self.model(input_ids, positions, borders, cache)  # (B, T, hidden_size)
        if cache is not None:
            cache.advance(T)
        output = CausalLMOutput(hidden, aux_loss, self.lm_head)
        if labels is not None:
            self._add_loss(output, labels, borders)
        return output

    def _add_loss(self, output: CausalLMOutput, labels: Tensor, borders: Borders) -> None:
        """Compare what each token foresees with the token after it; sets loss, loss_sum and label_count."""
        targets = labels[:, 1:]  # (B, T-1): token t is asked for token t + 1
        counted = (targets != IGNORE) & borders.foreseen()  # (B, T-1)
        hidden = output.hidden_states[:, :-1][counted]  # (N, hidden_size)
        # F.cross_entropy(self.lm_head(hidden), targets[counted], reduction="sum"), in chunks:
        # the logits of all tokens at once would be the largest tensor of the training.
        output.loss_sum = chunked_cross_entropy(hidden, self.lm_head.weight, targets[counted])
        output.label_count = counted.sum()
        output.loss = output.loss_sum / output.label_count.clamp(min=1)  # no labels: zero, not 0 / 0
