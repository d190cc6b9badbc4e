"""What each command can be told: one dataclass a command, and the command line is built from it.

A field's name is the flag, its default is what happens without it, and the text below it is its help. Nothing
here imports torch, so `minimind … --help` answers at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tyro.conf import Positional

WORLD_STEPS = 640
"""Length of the default run: a fixed number of tokens, 640 x 8 rows x 256."""


@dataclass
class TrainingSettings:
    """What every stage of training shares."""

    steps: int | None = None
    """Updates of the weights. Default: as many as --epochs makes, or 640 on the embedded world."""
    epochs: int = 1
    """Passes over the data, where --steps does not set the length."""
    batch_size: int = 8
    """Rows in one pass through the model."""
    accumulation_steps: int = 1
    """Batches whose gradients are added up before one update."""
    max_seq_len: int = 256
    """Tokens in a row. Documents are packed into rows; longer ones are cut."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """Rule for the weight matrices. Embeddings and norms take AdamW in both cases."""
    learning_rate: float | None = None
    """Peak learning rate of the weight matrices. Default: 0.005 at a width of 128, less for wider models."""
    embedding_learning_rate: float | None = None
    """Peak learning rate of embeddings and norms. Default: twice --learning-rate with Muon, equal to it with
    AdamW."""
    weight_decay: float = 0.0
    """Share of each matrix (times the learning rate) that is taken away at each update."""
    schedule: Literal["wsd", "cosine"] = "wsd"
    """Shape of the learning rate: warm-up, stable, decay; or warm-up and half a cosine."""
    warmup: float = 0.04
    """Share of the steps in which the learning rate rises from zero."""
    decay: float = 0.5
    """Share of the steps, at the end, in which a wsd schedule falls."""
    learning_rate_floor: float = 0.0
    """Learning rate at the end, as a share of the peak."""
    clip_norm: float = 1.0
    """Longest gradient that is used as it is; longer ones are scaled down to this norm."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Numbers of the matrix products. auto: bf16 where the device has instructions for it."""
    compile: bool = False
    """Compile the model with torch.compile: a slow first step, faster ones after it."""
    device: str | None = None
    """cuda, mps or cpu. Default: the first of these that is there."""
    threads: int | None = None
    """Threads of the processor. A number is kept: then a resumed run is always exact to the last bit.
    Default: one a core, and fewer while other programs are busy. The report says when; it can change the last bits."""
    seed: int = 0
    """Start of every random choice: weights, order of the rows, dropout, the embedded world."""
    validate_every: int | None = None
    """Steps between two looks at the held-out documents. Default: a tenth of the run."""
    sample_tokens: int = 48
    """Tokens that the model writes at each of these looks; 0 for none."""
    checkpoint_seconds: float = 8.0
    """Longest time between two checkpoints. When they are made does not change what is learned."""
    max_seconds: float | None = None
    """Save and leave after this time of training; --resume goes on from there."""
    resume: bool = False
    """Go on from the last checkpoint in --output."""
    overwrite: bool = False
    """Delete what an earlier run left in --output."""
    tensorboard: bool = False
    """Write TensorBoard events into the run's folder too."""


@dataclass
class PretrainSettings(TrainingSettings):
    """Train a model to predict the next token of documents.

    Without flags: the nano model, on the embedded world, into runs/pretrain.
    """

    output: str = "runs/pretrain"
    """Folder of the run. It becomes a Hugging Face model folder."""
    data_path: str | None = None
    """JSONL file, or a pattern such as 'data/*.jsonl', with one {"text": …} a line. Default: the embedded
    world."""
    tokenizer: str | None = None
    """Folder with a trained tokenizer. Default: train one on the data."""
    vocab_size: int | None = None
    """Ids of the tokenizer that is trained. Default: the preset's, lowered where the data do not allow as
    many."""
    preset: str = "nano"
    """Size of the model, where --hidden-size is not given: nano, tiny, small, base, medium."""
    hidden_size: int | None = None
    """Width of the model. Heads and feed-forward width follow from it."""
    num_hidden_layers: int | None = None
    """Number of transformer blocks."""
    num_attention_heads: int | None = None
    """Number of query heads."""
    num_key_value_heads: int | None = None
    """Number of key and value heads; each serves a group of query heads."""
    head_dim: int | None = None
    """Numbers per head; even."""
    dropout: float = 0.0
    """Share of numbers dropped from each branch while training."""
    validation_documents: int = 256
    """Most documents held out to measure the loss on."""
    validation_share: float = 0.02
    """Share of your own documents that is held out, chosen by a hash of the text."""
    skip_bad_rows: bool = False
    """Leave out lines of the data that cannot be read, and list them, rather than stop."""


@dataclass
class DataSettings:
    """Write the embedded world as JSONL files, for use as --data-path."""

    what: Positional[Literal["world"]]
    """Which data to write."""
    output: str = "dataset"
    """Folder for pretrain_hq.jsonl."""
    documents: int = 20_000
    """Number of documents."""
    split: Literal["train", "validation"] = "train"
    """Documents to train on, or held-out ones."""
    seed: int = 0
    """Seed of the world."""
    overwrite: bool = False
    """Replace a file that is there."""


@dataclass
class TokenizerSettings:
    """Train a tokenizer on your own text."""

    what: Positional[Literal["train"]]
    """What to do."""
    data_path: str | None = None
    """JSONL file or pattern with one {"text": …} a line. Default: the embedded world."""
    vocab_size: int = 1024
    """Number of ids: special tokens, the 256 bytes, and merges."""
    output: str = "runs/tokenizer"
    """Folder for tokenizer.json and tokenizer_config.json."""
    skip_bad_rows: bool = False
    """Leave out lines of the data that cannot be read, and list them, rather than stop."""
    overwrite: bool = False
    """Replace a tokenizer that is there."""


@dataclass
class GenerateSettings:
    """Let a trained model write, token by token."""

    run: Positional[str] = "pretrain"
    """Folder of a run, or its name: your own under runs/, else the model of this name that comes with the package."""
    prompt: str = ""
    """Text to go on from. Without it the model starts a document of its own."""
    max_new_tokens: int = 200
    """Most tokens to write."""
    temperature: float = 0.8
    """Divides the logits: below 1 the likely tokens win more often; 0 always takes the likeliest."""
    top_k: int | None = None
    """Draw only from this many likeliest tokens."""
    top_p: float | None = None
    """Draw only from the likeliest tokens that together have this probability."""
    min_p: float | None = None
    """Draw only from tokens at least this likely, relative to the likeliest."""
    repetition_penalty: float = 1.0
    """Above 1: tokens that have occurred become less likely."""
    seed: int = 0
    """Start of the random choices."""
    device: str | None = None
    """cuda, mps or cpu. Default: the first of these that is there."""


@dataclass
class EvaluateSettings:
    """Measure a trained model on documents that it has not seen."""

    run: Positional[str] = "pretrain"
    """Folder of a run, or its name: your own under runs/, else the model of this name that comes with the package."""
    data_path: str | None = None
    """JSONL file or pattern. Default: what the run held out."""
    documents: int = 1000
    """Most documents to read."""
    skip_bad_rows: bool = False
    """Leave out lines of the data that cannot be read, and list them, rather than stop."""
    device: str | None = None
    """cuda, mps or cpu. Default: the first of these that is there."""
    json: bool = False
    """Print one JSON object."""


@dataclass
class BenchmarkSettings:
    """Measure the speed of this package against a plain baseline, in turn, on this machine."""

    what: Positional[Literal["train", "decode"]]
    """Training steps, or writing token by token."""
    rounds: int = 5
    """How often each side is measured, in turn; the median counts."""
    busy: bool = False
    """Measure beside a busy process instead, and two at once; the baseline is the speed alone."""
    json: bool = False
    """Print JSON rows: name, value, baseline, ratio."""


@dataclass
class RunSettings:
    """Run a module's experiments (scripts of snippets/) in order."""

    module: Positional[str]
    """Name of a folder in snippets/, for example normalization."""
    all: bool = False
    """Run the long experiments and the extras too, not the core alone."""


@dataclass
class RecordSettings:
    """Measure long experiments anew and keep what they find beside their scripts."""

    names: Positional[tuple[str, ...]] = ()
    """Names of scripts, such as `normalization/exp4_pre_or_post`; none stands for all whose code has changed."""
    check: bool = False
    """Measure nothing, say which records are of other code than today's; the exit status is 1 if there are any."""
    confirm: bool = False
    """Measure a part again first; where it is the same to the bit, keep the rest and only renew the digest."""


@dataclass
class ExerciseSettings:
    """Write a piece of the model yourself, and have it checked."""

    what: Positional[Literal["list", "start", "check", "hint", "solution", "train"]]
    """list shows all. start writes a file to complete. check runs it and names the mistake. hint gives the next of
    three hints. solution asks first. train makes a model of what you have passed, and trains it beside ours."""
    name: Positional[str | None] = None
    """Name of the exercise."""
    folder: str = "exercises"
    """Folder with your files."""
    yes: bool = False
    """Show a solution without asking."""
    seconds: float = 60.0
    """How long `train` trains your model."""
    json: bool = False
    """Print the list as JSON."""


@dataclass
class DoctorSettings:
    """Look at this machine: what a run would use, and what stands in its way."""

    json: bool = False
    """Print one JSON object."""
