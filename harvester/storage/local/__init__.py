"""
Bytes on disk: safe paths, partial files, proof by md5, publishing by rename.

    files/<item_id>/<folder>/<name>            whole and proven, never anything else
    files/<item_id>.v<version>/<folder>/<name> the same, of one version; bytes that others have are there once
    .partial/<item_id>-<file_id>-<md5>.<owner>.part    on the way there; survives a failed run
    .partial/<item_id>-<file_id>-<md5>.<owner>@<begin>.part    so does what comes later in it, from `begin` on

`names.py` decides what things are called, `disk.py` reaches them without following links and makes
them last, `files.py` is the front, `partial.py` fills and proves a file, with `pieces.py` in several places
at once, `owners.py` says whose it is, `taking_over.py` goes on with what others left, `publishing.py` puts
what is whole in its place, `looking.py` tells what is there, `linking.py` gives it a second name, `moving.py`
another one, `room.py` sets free disk aside, `rewriting.py` replaces tables.
"""

from harvester.storage.local.atomic_file import atomic_write
from harvester.storage.local.directory import map_disk_errors
from harvester.storage.local.partial import Partial
from harvester.storage.local.segments import BUFFER_SIZE, Segment
from harvester.storage.local.store import Store
from harvester.storage.paths import aside, assign_paths, is_same_path, item_dir, safe_name

__all__ = [
    "BUFFER_SIZE",
    "Partial",
    "Segment",
    "Store",
    "aside",
    "assign_paths",
    "atomic_write",
    "is_same_path",
    "item_dir",
    "map_disk_errors",
    "safe_name",
]
