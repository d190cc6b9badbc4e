"""What a model learns from: the embedded world, data files, and token rows."""

from typing import TYPE_CHECKING, Any

from .documents import encode_documents
from .packing import Packed, pack, pack_rows
from .records import KINDS, Record, Records, Report, read_records
from .sources import find_files
from .store import TokenStore

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    if name == "World":
        from .world import World

        return World
    raise AttributeError(f"module 'minimind.data' has no attribute {name!r}")
