"""
Bytes on disk: safe paths, partial files, proof by md5, publishing by rename.

    files/<item_id>/<folder>/<name>            whole and proven, never anything else
    .partial/<item_id>-<file_id>-<md5>.part    on the way there; survives a failed run

`names.py` decides what things are called, `disk.py` reaches them without following links and makes
them last, `files.py` fills, proves and publishes.
"""

from harvester.store.disk import disk_errors, rewrite
from harvester.store.files import BUFFER_SIZE, Partial, Store
from harvester.store.names import place, safe_name

__all__ = ["BUFFER_SIZE", "Partial", "Store", "disk_errors", "place", "rewrite", "safe_name"]
