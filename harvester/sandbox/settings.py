"""Settings of the sandbox, and the faults that it can inject."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

FAULTS: Mapping[str, str] = MappingProxyType(
    {
        "reset": "every service: the connection is cut before any answer",
        "reset-body": "api, stats, storage: cut in the middle of the body",
        "stall": "api, stats, storage: half the body, then silence",
        "drip": "api, stats, storage: a second of single bytes, then the rest",
        "429": "api, stats, files: too many requests, without Retry-After",
        "429-after": "api, stats, files: with Retry-After in seconds",
        "429-date": "api, stats, files: with Retry-After as a date",
        "500": "every service: internal error",
        "502-html": "api, stats, files: a proxy's page",
        "503": "every service: unavailable",
        "challenge": "api, stats, files: 202, empty, x-amzn-waf-action: challenge",
        "403-html": "api, stats, files: a block page",
        "404-html": "every service: a gateway's page that says not found",
        "half-json": "api, stats: JSON that ends in the middle, with a length that agrees",
        "empty": "every service: 200 with nothing",
        "wrong-length": "storage: a shorter body, with a length that agrees",
        "wrong-md5": "storage: the right number of wrong bytes",
        "range-ignored": "storage: the whole file in answer to a Range request",
        "416": "storage: range not satisfiable in answer to a Range request",
        "short-range": "storage: half of the requested range, with a matching Content-Range",
        "other-range": "storage: another range than requested, with a matching Content-Range",
        "other-etag": "storage: a range with another ETag, although If-Range forbids it",
        "expired": "files: a signed address that has expired",
        "html-file": "storage: 200 and a web page instead of the file",
        "refused": "every service: cut before any answer, and new connections are refused for a moment",
        "reset-headers": "every service: cut in the middle of the status line or the headers",
        "403-burst": "api, stats, files: a block page for this and every other request, for a moment",
        "trickle": "api, stats, storage: single bytes without an end; before JSON they are blanks",
        "cut-chunked": "api, stats: half a chunked body, then the connection is closed",
        "gzip-cut": "api, stats: a compressed body that ends in the middle, with a length that agrees",
        "always-wrong-md5": "storage, for ever for a share of the files: wrong bytes",
        "always-500": "api and stats, for ever for a share of the items, counters, files and pages",
        "always-403-json": "api records, for ever for a share of them: figshare's own refusal",
        "always-challenge": "files, for ever for a share of the files",
        "always-404": "api records, for ever for a share of them: figshare's own not found",
        "always-404-html": "api and stats, for ever for a share as of always-500: a gateway's page not found",
        "always-gone-file": "api and files, for ever for a share of the files: not found on both routes",
        "always-wrong-length": "storage, for ever for a share of the files: half of it, the length agrees",
    }
)
HOSTILE: Mapping[str, str] = MappingProxyType(
    {
        "wrong-shape": "the record in a list",
        "wrong-files": "a text in place of the file list",
        "wrong-id": "the record of another item",
        "huge": "100 MB of JSON, in a key that is never read",
        "deep-unread": "10,000 nested lists, in a key that is never read",
        "deep-read": "10,000 nested lists in place of the authors",
        "bomb": "4 MB that decompress to 4 GB",
        "bomb-small": "less than 100 KB that decompress to 90 MB",
        "bad-utf8": "bytes that are no UTF-8, in a key that is never read",
        "surrogates": "half of a character, escaped, in the title and in file names",
        "nul": "a null byte in the title and in file names",
        "endless-files": "a file list without an end",
        "repeating-files": "a file list that gives its first page for every page",
        "escape-title": "control sequences in title, authors and file names; a file with a wrong md5",
        "long-texts": "a title and file names of a million characters",
        "formula": "spreadsheet formulas in title, authors, categories and file names",
        "huge-numbers": "a size of 401 digits, of the item and of its first file",
        "absurd-size": "a file that claims to have 2^50 bytes",
        "link-elsewhere": "download addresses that must not be requested",
        "brotli": "in an encoding that was not requested",
        "odd-fields": "values of a wrong type in fields that only tables show, in its size and its folders",
        "odd-lists": "authors as texts, numbers and nulls, a null among categories, a text as licence",
        "odd-file": "four files: one has a text as size, one a text as id",
        "untold-size": "a file with a size of null",
        "files-object": "an object in place of the file list",
        "odd-words": "texts of real records: C1, form feeds, line breaks, semicolons; a link without a name",
        "many-numbers": "66 MB of 1,1,1… in place of the authors, in 60 KB of gzip",
        "many-authors": "20 million authors without a name, in 60 KB of gzip",
        "many-files": "66 MB of files with only an id, in the record itself",
        "many-keys": "66 MB of keys, in a key that is never read",
        "long-key": "a key of 66 MB",
        "wide-title": "a title of 66 MB, with one character that makes all the others four times as wide",
        "long-text": "a description of 66 MB",
        "long-number": "a number of 60 million digits, in a key that is never read",
        "long-head": "a header of 1 MB",
        "long-location": "a redirect to an address of 1 MB",
        "thousands": "a file list of 25,000 files, all links except the first ten",
        "sums-differ": "a file whose supplied_md5 differs from its computed_md5",
    }
)
REDIRECTS: Mapping[str, str] = MappingProxyType(
    {
        "": "downloads redirect to the storage",
        "loop": "downloads redirect to themselves, endlessly",
        "http": "downloads redirect to plain http on a host that is not this machine",
        "other-host": "downloads redirect to the storage under another name",
        "file-scheme": "downloads redirect to file:///etc/passwd",
        "api-elsewhere": "records redirect to another origin, which has them: `Sandbox.elsewhere`",
    }
)
IDENTIFIERS: Mapping[str, str] = MappingProxyType(
    {
        "shared-doi": "two items have one DOI",
        "hex-doi": "a DOI that contains neither the item's id nor a version",
        "wrong-id-doi": "a DOI of figshare's form whose number is no item's id",
        "collection-doi": "the DOI of an item of a publisher's collection",
        "minted-handle": "a handle that ends in the version, and a DOI",
        "handle-only": "a handle and no DOI",
        "portal": "addresses on the host of a portal, repository.example.org",
    }
)
BLOATED: Mapping[str, str] = MappingProxyType(
    {
        "listing": r"/articles(/search)?$",
        "files": r"/files$",
        "versions": r"/versions$",
        "account": r"/account$",
        "licences": r"/licenses$",
        "totals": r"/total/",
        "timeline": r"/timeline/",
        "breakdown": r"/breakdown/",
    }
)
"""Answers of the API and the statistics, by their path."""
FOR_EVER = 1 << 62


@dataclass(frozen=True)
class Settings:
    """
    The settings of a sandbox. The same settings give the same data, byte for byte.

    Data:
        items: Public items.
        private_items: Unpublished items of the tokens' account.
        colleague_items: Items of another account of the same institution.
        own_public: The number of first public items that belong to the tokens' account.
        seed: Another seed gives other data.
        together: The number of items published, and modified, at the same moment.
        heavy: Files of ``heavy_size`` bytes.
        heavy_size: Bytes.
        late_md5: Files of public items have no md5 until `World.prove`.
        own_terms: Every seventh item has a licence and a type that only institutions have. The licence is
            shown only with a token, the type only by ``/item_types``.
        identifiers: Kinds of `IDENTIFIERS` that some items in every fifty have.
        hostile: Kinds of `HOSTILE`; each adds one public item.
        loose_types: Booleans as 0, 1 and text, numbers as text and floats, in all answers of API and stats.
        etags: Whether records have an ETag.

    Access:
        token: An administrator's token.
        plain_token: A token of the same account, without rights.
        stats_credentials: ``name:password`` for the statistics of the institution.
        bad_token_status: The status for an unknown token.
        token_lasts: The number of requests with a token before it expires.
        credentials_last: The number of requests with ``stats_credentials`` before they expire.
        hides_withheld: How the public record of a withheld item shows its files: "" like any other, "empty"
        as an empty list, "absent" without the key.
        refuses_owner: Withheld files are refused to their owner too.
        embargo_date: The end of embargoes that have one.

    Server:
        host: The address to listen on.
        ports: Of API, stats, files and storage; 0 is any free port.
        latency: Seconds before every answer.
        rate_cap: Requests a second for each service, counted over the last second; 429 beyond.
        record: Keep every request in `Sandbox.requests`.
        clock_ahead: Seconds by which the clock of the services is ahead of this machine's.
        dateless: Answers have no ``Date`` header.

    Faults:
        faults: A name of `FAULTS` to the share (0 to 1) of requests.
        max_per_address: The most faults for one address, not counting permanent ones.
        stall_seconds: Seconds until a stall or a trickle is cut.
        refused_seconds: How long a service refuses connections.
        burst_seconds: How long a service blocks requests.
        trickle_seconds: Seconds between two bytes of a trickle.
        doubts: A name of `doubts.DOUBTS` to the number of such answers for each address, as in
        `Doubts.begin`.
        echoes: Answers to requests with credentials repeat them, in texts, names, keys and addresses.
        bloated: Kinds of `BLOATED` that are answered with 66 MB of 1,1,1… in 60 KB of gzip.
        bloated_after: The number of good answers of each kind before that.

    Downloads:
        signed_seconds: How long a signed storage address is valid.
        blocked_items: The number of first public items whose files are answered with a block page on each
        route.
        storage_type: The content type of all answers of the storage.
        connection_rate: Bytes of a file a second on one connection.
        slow_items: The number of first public items whose files are sent at ``slow_rate``.
        slow_rate: Bytes a second on one connection.
        cut_after: Bytes after which every connection to the storage is cut; 0 for none.
        stale_route: "files" or "api": this route serves copies with other bytes of the files with an md5.
        redirects: One of `REDIRECTS`.
        refused_lists: The status with which every file list is refused, with figshare's JSON; 0 for none.

    Listings:
        cap: The number of entries of a listing that page numbers can reach.
        cursors: Whether a cursor continues past ``cap``.
        strict_since: "Since" means "after", not "at or after".
        listed_ahead: Seconds by which the modification date in listings is later than in records.
        far_future: "listings", "records" or both: there every modification is in the year 2924.
        odd_entries: The first page of public listings has malformed entries.
        ignores: Filters that are ignored.
        ignores_page: Every page is the first one.
        cycle: After the last entry the listing starts again, without a cap.
        miscount: How many items too many the statistics count in a group.
        shift_every: The number of listing requests until another new item is published.
        fail_page: The page of every listing that is answered with 500.
        fail_page_times: How often that happens.
        page_cap: The most entries on a page of a listing; 0 for no such cap.
        file_page_cap: The same for file lists.
        own_offsets: Pages begin at multiples of the cap, not of the requested size.
        largest_page: A larger page size is refused.
        empty_page: The page that is empty at first if it is requested by cursor, with a new cursor to itself.
        short_lists: How often each file list and each list of versions is empty.
        unsaid: Fields that listing entries lack, to the share of the items (0 to 1) whose entries do.
    """

    items: int = 300
    private_items: int = 12
    colleague_items: int = 3
    seed: int = 1
    token: str = "sandbox-token"  # noqa: S105 - it opens nothing but this sandbox
    plain_token: str = "sandbox-plain-token"  # noqa: S105
    stats_credentials: str = "sandbox:sandbox-password"
    bad_token_status: int = 403
    token_lasts: int = FOR_EVER
    credentials_last: int = FOR_EVER
    host: str = "127.0.0.1"
    ports: tuple[int, int, int, int] = (0, 0, 0, 0)
    latency: float = 0.0
    rate_cap: float = math.inf
    faults: Mapping[str, float] = field(default_factory=dict)
    max_per_address: int = 3
    cap: int = 9000
    cursors: bool = True
    strict_since: bool = False
    together: int = 1
    signed_seconds: float = 10.0
    stall_seconds: float = 30.0
    refused_seconds: float = 0.05
    burst_seconds: float = 0.2
    trickle_seconds: float = 0.05
    heavy: int = 1
    heavy_size: int = 3_000_000
    record: bool = True
    blocked_items: int = 0
    storage_type: str = "application/octet-stream"
    connection_rate: float = math.inf
    slow_items: int = 0
    slow_rate: float = math.inf
    cut_after: int = 0
    stale_route: str = ""
    loose_types: bool = False
    late_md5: bool = False
    refused_lists: int = 0
    own_public: int = 20
    hides_withheld: str = ""
    refuses_owner: bool = False
    etags: bool = True
    embargo_date: str = "2040-01-01T00:00:00Z"
    hostile: frozenset[str] | tuple[str, ...] = ()
    bloated: frozenset[str] | tuple[str, ...] = ()
    bloated_after: int = 0
    redirects: str = ""
    identifiers: frozenset[str] | tuple[str, ...] = ()
    clock_ahead: float = 0.0
    dateless: bool = False
    listed_ahead: int = 0
    far_future: frozenset[str] | tuple[str, ...] = ()
    odd_entries: bool = False
    ignores: tuple[str, ...] = ()
    ignores_page: bool = False
    cycle: bool = False
    miscount: int = 0
    shift_every: int = 0
    fail_page: int = 0
    fail_page_times: int = FOR_EVER
    page_cap: int = 0
    file_page_cap: int = 0
    own_offsets: bool = False
    largest_page: int = 1000
    empty_page: int = 0
    short_lists: int = 0
    unsaid: Mapping[str, float] = field(default_factory=dict)
    own_terms: bool = False
    doubts: Mapping[str, int] = field(default_factory=dict)
    echoes: bool = False

    def __post_init__(self) -> None:
        for name, given, known in (
            ("faults", self.faults, FAULTS),
            ("hostile", self.hostile, HOSTILE),
            ("bloated", self.bloated, BLOATED),
            ("redirects", {self.redirects}, REDIRECTS),
            ("far_future", self.far_future, {"listings": "", "records": ""}),
            ("identifiers", self.identifiers, IDENTIFIERS),
            ("stale_route", {self.stale_route}, {"": "", "files": "", "api": ""}),
            ("hides_withheld", {self.hides_withheld}, {"": "", "empty": "", "absent": ""}),
        ):
            if unknown := set(given) - known.keys():
                raise ValueError(f"{name}: unknown {', '.join(sorted(unknown))}")

    @property
    def leads_elsewhere(self) -> bool:
        """Whether an answer redirects to an origin other than the four services."""
        return self.redirects == "api-elsewhere" or "link-elsewhere" in self.hostile
