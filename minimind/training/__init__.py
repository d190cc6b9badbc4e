"""Training: one loop, and for each stage a short file with its data and its objective."""

import warnings

from .batches import Batches, RowBatches
from .checkpoint import load_checkpoint, save_checkpoint
from .clip import clip_gradients
from .loop import FitResult, fit
from .lora import lora
from .objectives import Batch, Loss, Objective, causal_language_model
from .optimizer import Optimizer
from .pretrain import pretrain
from .schedule import cosine_schedule, wsd_schedule
from .sft import sft
from .stage import run_stage
from .tokenizer import tokenizer

# `python -m minimind.training.pretrain` runs a module that this file has imported. Python warns of it; it is
# harmless here, because the module only calls its own function.
warnings.filterwarnings("ignore", message="'minimind.training.*found in sys.modules", category=RuntimeWarning)

__all__ = [
    "Batch",
    "Batches",
    "FitResult",
    "Loss",
    "Objective",
    "Optimizer",
    "RowBatches",
    "causal_language_model",
    "clip_gradients",
    "cosine_schedule",
    "fit",
    "load_checkpoint",
    "lora",
    "pretrain",
    "run_stage",
    "save_checkpoint",
    "sft",
    "tokenizer",
    "wsd_schedule",
]
