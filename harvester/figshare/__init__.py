"""
Everything true of figshare and of nothing else.

`api.py` has the calls, with paging, caps and cursors; `records.py` turns their JSON into models;
`selection.py` knows what a listing can be narrowed to; `names.py` reads ids and DOIs; `routes.py` knows how a
file is reached.

Source of what is documented: the figshare API reference, version 2 (https://docs.figshare.com).
"""

from harvester.figshare.api import Figshare
from harvester.figshare.names import doi_in, item_id_in, same_doi
from harvester.figshare.records import Entry, read_article
from harvester.figshare.routes import DOWNLOADS, Routes
from harvester.figshare.selection import Selection

__all__ = [
    "DOWNLOADS",
    "Entry",
    "Figshare",
    "Routes",
    "Selection",
    "doi_in",
    "item_id_in",
    "read_article",
    "same_doi",
]
