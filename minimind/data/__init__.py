"""What a model learns from: the embedded world, data files, and token rows."""

from .conversations import conversation
from .records import KINDS, Record, Records, Report, find_files, read_records, tokenizer_sample
from .rows import Example, Packed, encode_documents, pack, pack_rows
from .store import TokenStore, open_rows, write_rows
from .world import World

__all__ = [
    "KINDS",
    "Example",
    "Packed",
    "Record",
    "Records",
    "Report",
    "TokenStore",
    "World",
    "conversation",
    "encode_documents",
    "find_files",
    "open_rows",
    "pack",
    "pack_rows",
    "read_records",
    "tokenizer_sample",
    "write_rows",
]
