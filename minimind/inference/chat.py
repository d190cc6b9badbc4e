"""A conversation with a model: what was said, and the next answer.

The model remembers nothing. Each time it reads the whole conversation anew, as training laid it out, and writes on
from the header of an assistant's message until it writes an end token.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ..model import MiniMind
from ..sampling import Sampling
from ..tokenizer import Tokenizer
from .context import Message, Prompt, fit
from .text import stream_text


class Chat:
    """A model, and the conversation with it.

    Args:
        model: answers; best one that was trained on conversations.
        tokenizer: the model's.
        sampling: how tokens are chosen, and how many there are in an answer at most.
        system: what the model is told before everything else; empty for nothing.
        watch: sees the tokens pass, one a step.

    Attributes:
        messages: all that was asked and answered, the system message apart.
        prompt: what the model read for the newest answer.
        limit: how many tokens it might write at most.
        tokens: how many it wrote.
        seconds: how long that took, the reading included.
    """

    def __init__(
        self,
        model: MiniMind,
        tokenizer: Tokenizer,
        sampling: Sampling,
        system: str = "",
        watch: Callable[[Iterable[Tensor]], Iterable[Tensor]] = iter,
    ) -> None:
        self.model, self.tokenizer, self.sampling = model, tokenizer, sampling
        self.system, self.watch = system, watch
        self.messages: list[Message] = []
        self.prompt = Prompt([])
        self.limit, self.tokens, self.seconds = 0, 0, 0.0

    @property
    def conversation(self) -> list[Message]:
        """The messages with the system message, as a row of training data has them."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, *self.messages]

    def reply(self, text: str) -> Generator[str, None, None]:
        """Answer a message.

        The question and the answer are remembered when the answer ends, or when the caller closes the iterator,
        with what was written until then; an empty answer is not remembered, nor its question.

        Args:
            text: what the user says. It never becomes a special token, whatever it spells.

        Yields:
            Pieces of the answer.

        Raises:
            UserError: if the message is no text, or does not fit beside the system message.
        """
        question = {"role": "user", "content": text.strip()}
        context = self.model.config.max_position_embeddings
        for_answer = min(self.sampling.max_new_tokens, context // 2)
        self.prompt = fit(self.tokenizer, [*self.conversation, question], context - for_answer)
        self.limit = min(self.sampling.max_new_tokens, context - len(self.prompt.ids))
        written, self.tokens, began = "", 0, time.perf_counter()
        try:
            for piece in stream_text(self.tokenizer, self._steps()):
                written += piece
                yield piece
        finally:
            self.seconds = time.perf_counter() - began
            if written.strip():
                self.messages += [question, {"role": "assistant", "content": written.strip()}]

    def _steps(self) -> Iterator[Tensor]:
        """The ids of an answer, counted."""
        ids = torch.tensor([self.prompt.ids], device=self.model.lm_head.weight.device)
        sampling = replace(self.sampling, max_new_tokens=self.limit)
        steps = self.model.stream(ids, sampling=sampling, eos_token_id=self._ends())
        for new in self.watch(steps):
            self.tokens += 1
            yield new

    def _ends(self) -> list[int]:
        """What ends an answer: all that ends a text of this model, and what ends a message in training."""
        ends = self.model.generation_config.get("eos_token_id")
        several = ends if isinstance(ends, list) else [ends]
        return sorted({self.tokenizer.eos_token_id, *(id for id in several if id is not None)})
