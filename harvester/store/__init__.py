"""
Bytes on disk: safe paths, partial files, proof by md5, publishing by rename.

    files/<item_id>/<folder>/<name>            whole and proven, never anything else
    files/<item_id>.v<version>/<folder>/<name> the same, of one version; bytes that others have are there once
    .partial/<item_id>-<file_id>-<md5>.part    on the way there; survives a failed run
    .partial/<item_id>-<file_id>-<md5>@<begin>.part    so does what comes later in it, from byte `begin` on

`names.py` decides what things are called, `disk.py` reaches them without following links and makes
them last, `files.py` fills and proves, with `pieces.py` in several places at once, `publishing.py` puts
what is whole in its place, `looking.py` tells what is there, `linking.py` gives it a second name, `moving.py`
another one, `room.py` sets free disk aside.
"""

from harvester.store.disk import disk_errors, rewrite
from harvester.store.files import Partial, Store
from harvester.store.names import aside, home_of, is_same_path, place, safe_name
from harvester.store.pieces import BUFFER_SIZE, Piece

__all__ = [
    "BUFFER_SIZE",
    "Partial",
    "Piece",
    "Store",
    "aside",
    "disk_errors",
    "home_of",
    "is_same_path",
    "place",
    "rewrite",
    "safe_name",
]
