"""What a model learns from: the embedded world, data files, and token rows."""

from .documents import encode_documents
from .packing import Packed, pack, pack_rows
from .records import KINDS, Record, Records, Report, read_records
from .sources import find_files
from .store import TokenStore
from .world import World

__all__ = [
    "KINDS",
    "Packed",
    "Record",
    "Records",
    "Report",
    "TokenStore",
    "World",
    "encode_documents",
    "find_files",
    "pack",
    "pack_rows",
    "read_records",
]
