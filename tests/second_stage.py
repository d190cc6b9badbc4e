"""A second stage, to prove that the frame carries one: a model is rewarded for writing token 5.

Its rows are what the model itself has just written, and an aligned column of floats says how good each token was.
"""

import sys
from types import SimpleNamespace

import torch

from minimind import MiniMind, ModelConfig
from minimind.arguments import main_of
from minimind.settings import TrainingSettings
from minimind.training import FitResult, Loss, run_stage
from minimind.training.objectives import Batch


class Rollouts:
    """Batches that the model writes at each step; they end with the settings' steps."""

    step_count = None

    def __init__(self, model: MiniMind, rows: int):
        self.model, self.start = model, torch.ones(rows, 1, dtype=torch.long)

    def of_step(self, step: int):
        ids = self.model.generate(self.start, max_new_tokens=6, eos_token_id=None)  # (B, 7)
        yield {"input_ids": ids, "advantages": torch.where(ids == 5, 1.3, -0.7)}


def rewarded(model: MiniMind, batch: Batch) -> Loss:
    log_probs = model(batch["input_ids"]).logits[:, :-1].float().log_softmax(dim=-1)
    chosen = log_probs.gather(2, batch["input_ids"][:, 1:, None])[..., 0]  # (B, 6)
    reward = (batch["input_ids"] == 5).float().mean(dim=1)  # (B,)
    figures = {"reward": (reward.sum(), torch.tensor(len(reward)))}
    return Loss(-(chosen * batch["advantages"][:, 1:]).sum(), torch.tensor(chosen.numel()), figures)


def second_stage(settings: TrainingSettings) -> FitResult | None:
    return run_stage(
        settings,
        prepare=lambda folder: (folder / "data").mkdir(),
        read=lambda folder: SimpleNamespace(facts={"source": "what the model writes"}),
        model=lambda data: MiniMind(ModelConfig(hidden_size=32, num_hidden_layers=1, vocab_size=16)),
        batches=lambda data, model: Rollouts(model, settings.batch_size),
        objective=rewarded,
        validate=lambda data, model: {"best_logit": float(model(torch.tensor([[1]])).logits.max())},
    )


if __name__ == "__main__":
    sys.exit(main_of("second_stage", TrainingSettings, second_stage))
