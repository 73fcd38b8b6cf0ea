"""Sources of each kind, by name."""

from __future__ import annotations

from typing import Any

from harvester.sources.account import Account
from harvester.sources.collection import Collection
from harvester.sources.group import Group
from harvester.sources.institution import Institution
from harvester.sources.project import Project
from harvester.sources.search import Search

SOURCES: dict[str, Any] = {
    "search": (Search(query=":title: data"), lambda world: world.search(":title: data")),
    "group": (Group(id=11962), lambda world: world.group_items(11962)),
    "collection": (Collection(id=4_000_001), lambda world: world.collection_items(4_000_001)),
    "project": (Project(id=113_002), lambda world: world.project_items(113_002)),
    "institution": (Institution(id=319), lambda world: world.public_ids),
    "own institution": (Institution(private=True), lambda world: world.institution_items({})),
    "account": (Account(), lambda world: world.account_items()),
    "account query": (Account(query="survey"), lambda world: world.account_items({"search_for": "survey"})),
}
