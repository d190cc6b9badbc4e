"""What each command can be told: one dataclass a command, and the command line is built from it.

A field's name is the flag, its default is what happens without it, and the text below it is its help. A stage of
training is told much, so its dataclass inherits groups, and `--help` shows them in the order in which they are
inherited. Nothing here imports torch, so `minimind … --help` answers at once.
"""

from .course import DoctorSettings, ExerciseSettings, RecordSettings, RunSettings
from .inference import BenchmarkSettings, ChatSettings, EvaluateSettings, GenerateSettings, MergeSettings
from .pipeline import PipelineSettings
from .tools import DataSettings, TokenizerSettings
from .training import (
    WORLD_STEPS,
    CorpusSettings,
    FineTuneSettings,
    LoraSettings,
    PretrainSettings,
    SftSettings,
    TrainingSettings,
)

__all__ = [
    "WORLD_STEPS",
    "BenchmarkSettings",
    "ChatSettings",
    "CorpusSettings",
    "DataSettings",
    "DoctorSettings",
    "EvaluateSettings",
    "ExerciseSettings",
    "FineTuneSettings",
    "GenerateSettings",
    "LoraSettings",
    "MergeSettings",
    "PipelineSettings",
    "PretrainSettings",
    "RecordSettings",
    "RunSettings",
    "SftSettings",
    "TokenizerSettings",
    "TrainingSettings",
]
