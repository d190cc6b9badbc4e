"""The embedded world: documents, conversations and questions, written by chance, with the exact entropy known."""

from .choices import Reader, Weighted, Writer, derivations
from .conversations import HARD, TASKS, Case, Conversation, Task
from .facts import ASKED_BY, FACTS, draw_facts, held_out
from .questions import ASSISTANT
from .sums import MINUS, PLUS, write_sums
from .world import KINDS, Document, Question, World

__all__ = [
    "ASKED_BY",
    "ASSISTANT",
    "FACTS",
    "HARD",
    "KINDS",
    "MINUS",
    "PLUS",
    "TASKS",
    "Case",
    "Conversation",
    "Document",
    "Question",
    "Reader",
    "Task",
    "Weighted",
    "World",
    "Writer",
    "derivations",
    "draw_facts",
    "held_out",
    "write_sums",
]
