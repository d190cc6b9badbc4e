"""A stage that reads its own kind of row: each text has a weight, and a negative one says "rather not this"."""

import sys
from pathlib import Path

import numpy as np

from minimind import MiniMind, ModelConfig
from minimind.arguments import main_of
from minimind.data.records import KINDS, BadRow, text_field
from minimind.metrics import held_out, perplexity
from minimind.settings import CorpusSettings
from minimind.training import FitResult, Loss, RowBatches, run_stage
from minimind.training.corpus import NewTokenizer, Recipe, open_corpus, prepare_corpus
from minimind.training.objectives import Batch


def weighted_row(row: dict) -> dict:
    if not isinstance(row.get("weight"), float):
        raise BadRow("'weight' must be a number with a point")
    return {"text": text_field(row, "text"), "weight": row["weight"]}


def weighted_examples(tokenizer, records):
    for record in records:
        ids = [tokenizer.bos_token_id, *tokenizer.encode(record.text), tokenizer.eos_token_id]
        weights = np.full(len(ids), record.fields["weight"], dtype=np.float32)
        yield {"input_ids": ids, "labels": ids, "weights": weights}


KINDS["weighted"] = weighted_row
RECIPE = Recipe("weighted", "weighted", weighted_examples, held_out)


def weighted(model: MiniMind, batch: Batch) -> Loss:
    log_probs = model(batch["input_ids"], document_ids=batch["document_ids"]).logits.float().log_softmax(-1)
    asked = batch["labels"][:, 1:] >= 0  # (B, T - 1)
    chosen = log_probs[:, :-1].gather(2, batch["input_ids"][:, 1:, None])[..., 0]
    return Loss(-(chosen * batch["weights"][:, 1:])[asked].sum(), asked.sum())


def weighted_stage(settings: CorpusSettings) -> FitResult | None:
    def prepare(folder: Path) -> int:
        return prepare_corpus(settings, NewTokenizer(300), 0, folder, RECIPE)

    return run_stage(
        settings,
        prepare=prepare,
        read=open_corpus,
        model=lambda data: MiniMind(ModelConfig(hidden_size=32, num_hidden_layers=1, vocab_size=300)),
        batches=lambda data, model: RowBatches(data.rows, settings.batch_size, settings.seed),
        objective=weighted,
        validate=lambda data, model: perplexity(model, data.held_out).figures(),
    )


if __name__ == "__main__":
    sys.exit(main_of("weighted_stage", CorpusSettings, weighted_stage))
