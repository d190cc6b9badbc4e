"""Settings of the stages of training: groups that stages share, and a class a stage that is made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ..config import ModelConfig

WORLD_STEPS = 640
"""Length of the default run: a fixed number of tokens, 640 x 8 rows x 256."""


@dataclass
class Model:
    """Which model."""

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
    """Share of numbers dropped, while training, from the embeddings and from each branch."""


@dataclass
class Data:
    """Where the documents come from, and which of them are held out."""

    data_path: str | None = None
    """JSONL file, or a pattern such as 'data/*.jsonl', with one JSON object a line: {"text": …} to pretrain on,
    {"conversations": […]} to fine-tune on. Default: the embedded world."""
    validation_documents: int = 256
    """Most documents, or conversations, held out to measure the loss on."""
    validation_share: float = 0.02
    """Share of your own documents that is held out, chosen by a hash of the text."""
    skip_bad_rows: bool = False
    """Leave out lines of the data that cannot be read, and list them, rather than stop."""
    prepared: str | None = None
    """Folder of prepared data (rows, held-out documents, tokenizer) that runs share. It is made if missing.
    Default: equal runs beside each other share what the first of them has prepared."""


@dataclass
class Vocabulary:
    """Which tokens."""

    tokenizer: str | None = None
    """Folder with a trained tokenizer. Default: train one on the data."""
    vocab_size: int | None = None
    """Ids of the tokenizer that is trained. Default: the preset's, lowered where the data do not allow as
    many."""


@dataclass
class Start:
    """What the training starts from."""

    from_weight: str = "pretrain"
    """Folder of a run, or its name: your own under runs/, else the model of this name that comes with the package. Its
    tokenizer is used too."""
    replay: float = 0.125
    """Share of the tokens of the rows that are documents of the pretraining, so that it is not forgotten; 0: none."""


@dataclass
class Output:
    """Where the run goes, and what may happen to one that is there."""

    output: str = "runs/pretrain"
    """Folder of the run. It becomes a Hugging Face model folder."""
    resume: bool = False
    """Go on from the last checkpoint in --output."""
    overwrite: bool = False
    """Delete what an earlier run left in --output."""


@dataclass
class Length:
    """How long, and how much at a time."""

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
    max_seconds: float | None = None
    """Save and leave after this time of training; --resume goes on from there."""


@dataclass
class Optimizer:
    """How the weights are changed."""

    optimizer: Literal["muon", "adamw"] = "muon"
    """Rule for the weight matrices. Embeddings and norms take AdamW in both cases."""
    learning_rate: float | None = None
    """Peak learning rate of the weight matrices. Default: 0.005 at a width of 128, less for wider models; sft
    and lora take 0.6 of it."""
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


@dataclass
class Machine:
    """How the numbers are computed."""

    seed: int = 0
    """Start of every random choice: weights, order of the rows, dropout, the embedded world."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Numbers of the matrix products. auto: bf16 where the device has instructions for it."""
    compile: bool = False
    """Compile the model with torch.compile: a slow first step, faster ones after it."""
    device: str | None = None
    """cuda, mps or cpu. Default: the first of these that is there."""
    threads: int | None = None
    """Threads of the processor. A number is kept: then a resumed run is always exact to the last bit.
    Default: one a core, and fewer while other programs are busy. The report says when; it can change the last bits."""


@dataclass
class Watch:
    """What is measured and kept on the way."""

    validate_every: int | None = None
    """Steps between two looks at the held-out documents. Default: a tenth of the run."""
    sample_tokens: int = 48
    """Tokens that the model writes at each of these looks; 0 for none."""
    checkpoint_seconds: float = 8.0
    """Longest time between two checkpoints. When they are made does not change what is learned."""
    tensorboard: bool = False
    """Write TensorBoard events into the run's folder too."""


@dataclass
class TrainingSettings(Output, Length, Optimizer, Machine, Watch):
    """What every stage of training shares."""

    rate_share: ClassVar[float] = 1.0
    """Learning rate of the stage, where none is given, as a share of pretraining's."""
    makes: ClassVar[str] = "model"
    """What lies in the run's folder at the end."""


@dataclass
class CorpusSettings(Data, TrainingSettings):
    """What every stage shares that trains on documents or conversations."""


@dataclass
class PretrainSettings(Model, Vocabulary, CorpusSettings):
    """Train a model to predict the next token of documents.

    Without flags: the nano model, on the embedded world, into runs/pretrain.
    """

    def model_config(self, vocab_size: int | None = None) -> ModelConfig:
        """The preset, or with `hidden_size` a model of that width; other sizes as given.

        Args:
            vocab_size: ids of the tokenizer, once it is there.

        Raises:
            UserError: if the sizes do not fit together.
        """
        names = ("num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size")
        changes: dict[str, Any] = {name: getattr(self, name) for name in names}
        changes = {name: value for name, value in changes.items() if value is not None}
        changes |= {"dropout": self.dropout, "max_position_embeddings": self.max_seq_len}
        if vocab_size is not None:
            changes["vocab_size"] = vocab_size
        preset = ModelConfig.preset(self.preset, **changes if self.hidden_size is None else {})
        return preset if self.hidden_size is None else ModelConfig(hidden_size=self.hidden_size, **changes)


@dataclass
class FineTuneSettings(Start, CorpusSettings):
    """What every stage shares that makes an answering model of a pretrained one."""


@dataclass
class SftSettings(FineTuneSettings):
    """Fine-tune a pretrained model on conversations, so that it answers.

    Without flags: the model of runs/pretrain, or the one that comes with the package, on the conversations of its
    embedded world, into runs/sft.
    """

    rate_share: ClassVar[float] = 0.6

    output: str = "runs/sft"
    epochs: int = 2
    validation_documents: int = 96


@dataclass
class Adapter:
    """What is learned beside the model."""

    rank: int = 5
    """Rank of the correction of a matrix; its numbers, and the time that they take, grow with it."""
    alpha: float = 10.0
    """The correction is multiplied by alpha / rank."""
    rank_stabilized: bool = False
    """Multiply it by alpha / sqrt(rank) instead, which suits high ranks."""
    lora_dropout: float = 0.0
    """Share of the numbers that an adapter does not see while training."""
    target_modules: list[str] | None = None
    """Ends of the names of the layers that get an adapter, such as q_proj v_proj. Default: all linear layers of the
    blocks."""
    subject: Literal["identity", "far"] = "identity"
    """What of the embedded world is learned where --data-path is not given: who answers, or what is true in another
    country."""


@dataclass
class LoraSettings(Adapter, FineTuneSettings):
    """Teach a fine-tuned model something new by an adapter (LoRA): small matrices beside its own, which stay.

    Without flags: the model of runs/sft, or the one that comes with the package, learns another identity, into
    runs/lora.
    """

    rate_share: ClassVar[float] = 0.6
    makes: ClassVar[str] = "adapter"

    from_weight: str = "full_sft"
    """Folder of a run, or its name: your own under runs/, else the model of this name that comes with the package. Its
    tokenizer is used too."""
    replay: float = 0.95
    """Share of the tokens of the rows that are what the model was trained on last, conversations and some documents, so
    that it is not forgotten; 0: none. With 0.95, nineteen tokens stand beside each one of the data, so a long file
    takes twenty times as many steps as alone."""
    output: str = "runs/lora"
    epochs: int = 1
    """Passes over the data, where --steps does not set the length. With 1 a short file is passed more often, until it
    has filled 1,000 steps."""
    # Muon makes all directions of a step equally long. A correction of rank 5 has five, and they are not alike. Tried
    # three times at the same rate, one seed each, AdamW learned one or two points more of a far country; which of the
    # two forgot less was not clear.
    optimizer: Literal["muon", "adamw"] = "adamw"
    """Rule for the matrices of the adapter."""
    validation_documents: int = 96
