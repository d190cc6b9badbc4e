"""A process that trains or writes when it is told to, and says how fast: `busy` starts it, once or twice.

It reads a number of seconds from each line of its input, works for so long, and prints tokens a second. The work is
that of `minimind pretrain` and `minimind generate`, with all that they do beside other programs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from ..config import ModelConfig
from ..model import MiniMind
from ..settings import PretrainSettings
from ..training import RowBatches, causal_language_model, fit
from ..training.corpus import open_corpus
from ..training.objectives import Batch, Loss
from ..training.threads import Threads

PROMPT_LENGTH, NEW_TOKENS = 32, 128
NO_END = 100_000
"""Steps of a training that its time ends before them."""


def training(folder: Path) -> Callable[[float], float]:
    """Trains the nano model on a prepared corpus; a function from seconds to tokens a second."""
    corpus = open_corpus(folder)
    torch.manual_seed(0)
    model = MiniMind(ModelConfig.preset("nano", vocab_size=corpus.tokenizer.vocab_size))
    settings = PretrainSettings(steps=NO_END, device="cpu", sample_tokens=0)
    batches = RowBatches(corpus.rows, settings.batch_size)

    def train(seconds: float) -> float:
        tokens = 0

        def counted(model: nn.Module, batch: Batch) -> Loss:
            nonlocal tokens
            loss = causal_language_model(model, batch)
            tokens += int(loss.count)
            return loss

        settings.max_seconds = seconds
        began = time.perf_counter()
        fit(model, batches, counted, settings, quiet=True)
        return tokens / (time.perf_counter() - began)

    return train


def writing(preset: str) -> Callable[[float], float]:
    """Writes with a model of random weights; a function from seconds to tokens a second."""
    torch.manual_seed(0)
    model = MiniMind(ModelConfig.preset(preset, vocab_size=6400)).eval()
    prompt = torch.randint(0, 6400, (1, PROMPT_LENGTH))

    def write(seconds: float) -> float:
        tokens, began = 0, time.perf_counter()
        with Threads(torch.get_num_threads()) as threads:
            while time.perf_counter() - began < seconds:
                stream = model.stream(prompt, max_new_tokens=NEW_TOKENS, temperature=0, eos_token_id=None)
                tokens += sum(1 for _ in threads.watch(stream))
        return tokens / (time.perf_counter() - began)

    return write


def serve(work: Callable[[float], float]) -> None:
    """Warm up, say so, and answer each line."""
    work(0.0)
    print("ready", flush=True)
    for line in sys.stdin:
        print(work(float(line)), flush=True)


if __name__ == "__main__":
    what, of = sys.argv[1:]
    serve(training(Path(of)) if what == "train" else writing(of))
