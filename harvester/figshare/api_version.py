"""
API version: paths, listing endpoints with their capabilities, and decoders, as data.

`v2.py` is the one in use. `protocol.py` is what other packages see. These types stand apart: to read a config
with its sources needs none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from msgspec import Struct

if TYPE_CHECKING:
    import msgspec

    from harvester.figshare.entries import EntryPage  # noqa: F401 - the base of a class below
    from harvester.figshare.records import Account, Group, ItemType, Licence, Version
    from harvester.figshare.usage import Numbers
    from harvester.models import Article

T = TypeVar("T")
U = TypeVar("U")


class Endpoint(Struct, Generic[T], frozen=True):
    """
    One endpoint of the API.

    ``path``: below the base of its service, with ``{name}`` where a value belongs.
    ``decode``: turns the body into a value; raises `InvalidResponse` or `ConnectionFailed`.
    ``authorised``: requests carry the token.
    ``right``: the administrator's right that it needs, for the message of a refusal.
    ``method``: GET sends parameters in the query, POST in a JSON body.
    """

    path: str
    decode: Callable[[bytes], T]
    authorised: bool = False
    right: str = ""
    method: str = "GET"

    def decoding(self, decode: Callable[[bytes], U]) -> Endpoint[U]:
        """Return the same endpoint with another decoder."""
        return Endpoint(self.path, decode, self.authorised, self.right, self.method)


class Paging(NamedTuple):
    """
    How pages are requested.

    ``page``, ``page_size``, ``order``, ``direction``: names of the parameters.
    ``cursor``: the header of responses, and of the next request, that holds the cursor; "" if decoders find
    it in the body (`EntryPage.cursor`).
    ``cursor_param``: the parameter that sends the cursor back, "" if the header does.
    """

    page: str
    page_size: str
    order: str
    direction: str
    cursor: str = ""
    cursor_param: str = ""


class ListingEndpoint(Endpoint["EntryPage"], frozen=True, kw_only=True):
    """
    An endpoint that lists items.

    ``what``: whose items they are, for messages.
    ``params``: the supported criteria and filters, each with the name of its parameter.
    ``terms``: filters that only its query language supports, each as a template of a query term.
    ``orders``: the fields it can be ordered by.
    ``date``: the default order, a date by which the listing can be cut into slices; "" if there is none.
    ``past_cap``: the endpoint that continues after the last page that this one serves.
    ``changes``: the endpoint that lists items modified since a moment, if this one cannot.
    """

    what: str
    params: Mapping[str, str] = {}
    terms: Mapping[str, str] = {}
    orders: tuple[str, ...] = ()
    date: str = ""
    past_cap: ListingEndpoint | None = None
    changes: ListingEndpoint | None = None


class ListingEndpoints(Struct, frozen=True, kw_only=True):
    """The listing endpoints that sources read."""

    search: ListingEndpoint
    collection: ListingEndpoint
    project: ListingEndpoint
    account: ListingEndpoint
    account_search: ListingEndpoint
    institution: ListingEndpoint


class ApiVersion(Struct, frozen=True, kw_only=True):
    """
    One version of figshare's API, as data.

    ``name``: as figshare calls it.
    ``paging``: how listings and file lists are paged.
    ``endpoints``: the listing endpoints.
    ``articles``: lists public items by DOI or handle; without either, all of them.
    ``record``, ``record_version``, ``private_record``: full records.
    ``file_list``: all files of a record; ``{record}`` is the record's path.
    ``download``: the path of a file's bytes.
    ``group_count``, ``total``, ``timeline``, ``breakdown``: of the statistics service.
    """

    name: str
    paging: Paging
    endpoints: ListingEndpoints
    articles: ListingEndpoint
    record: Endpoint[Article]
    record_version: Endpoint[Article]
    private_record: Endpoint[Article]
    file_list: Endpoint[list[msgspec.Raw]]
    versions: Endpoint[list[Version]]
    account: Endpoint[Account]
    groups: Endpoint[list[Group]]
    licences: Endpoint[list[Licence]]
    own_licences: Endpoint[list[Licence]]
    item_types: Endpoint[list[ItemType]]
    download: str
    group_count: Endpoint[dict[str, int]]
    total: Endpoint[int | None]
    timeline: Endpoint[Numbers]
    breakdown: Endpoint[Numbers]
