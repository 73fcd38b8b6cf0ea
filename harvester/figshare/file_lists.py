"""
File list pager: reads all files of a record, which itself contains only the first ten.

As with listings, an empty page is the end, or a page that is shorter than an earlier one. Files that the
record announces and that the list lacks make the answer doubtful; they are no fact about the item.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from harvester.errors import InvalidResponse, PermanentError, TransientError
from harvester.figshare.cursor import PAGE_SIZE, SMALLER_PAGE_SIZE
from harvester.figshare.decoding import decoder
from harvester.figshare.lenient import Unclear, whole_number
from harvester.figshare.records import decode_raw_list, read_article
from harvester.models import Article, Record


class _OfFile(msgspec.Struct, frozen=True):
    id: Any
    size: Any = None
    is_link_only: bool | None = None


class _OfRecord(msgspec.Struct, frozen=True):
    files: list[msgspec.Raw] | None = None


_decode_file = decoder(_OfFile, may_be_odd=True)
_decode_record = decoder(_OfRecord, may_be_odd=True, as_sent=True)
MOST_NAMED = 5
"""Malformed files named in one message at most."""
MOST_FILES = 30_000
"""Of one item. figshare accepts 500 from a browser; its API accepts thousands."""
MOST_BYTES = 32 << 20
"""Bytes of one item's file list."""


class Pages:
    """
    The pages of one file list, added one by one.

    ``number`` and ``size``: of the next page to request. ``bytes``: of all pages so far.
    """

    def __init__(self) -> None:
        self.raw_list: list[msgspec.Raw] = []
        self.number, self.size = 1, PAGE_SIZE
        self._largest = 0
        self.bytes = 0
        self._first: msgspec.Raw | None = None

    def reduce_page_size(self) -> bool:
        """Reduce the size of the first page, and return whether the size can have been refused."""
        if self.number > 1 or self.size <= SMALLER_PAGE_SIZE:
            return False
        self.size = SMALLER_PAGE_SIZE
        return True

    def take(self, page: Sequence[msgspec.Raw]) -> bool:
        """
        Add a page, and return whether there may be another one.

        Raises:
            InvalidResponse: the list is endless.
        """
        if page and page[0] == self._first:
            if self.number == 2 and self._largest < PAGE_SIZE:
                return False
            raise InvalidResponse("the file list repeats the same page")
        self._first = page[0] if page else None
        self.raw_list += page
        self.bytes += sum(len(memoryview(piece)) for piece in page)
        if len(self.raw_list) > MOST_FILES or self.bytes > MOST_BYTES:
            raise InvalidResponse(f"a file list of more than {MOST_FILES} files or {MOST_BYTES >> 20} MiB")
        if len(page) < max(1, self._largest):
            return False
        # A page of k files where more were requested: from here on k a page, so that numbers stay right.
        self._largest = self.size = max(self._largest, len(page))
        self.number += 1
        return True


def is_whole(record: Record) -> bool:
    """Return whether a record contains all of its files; withheld files are announced to owners only."""
    article = record.article
    is_kept_back = bool(article.withheld) and not record.private
    return article.files_complete and (is_kept_back or _total(article) == article.size)


def _total(article: Article) -> int:
    return sum([file.size for file in article.files])


def whole(
    record: Record, listed: Iterable[msgspec.Raw], error: PermanentError | TransientError | None = None
) -> Record:
    """
    Return a record with its file list, completed by files that only the record itself contains.

    `error`: why the list could not be read to its end, None if it was. A temporary error makes the record
    doubtful, whatever it announces.
    """
    raw_list = _by_id(listed)
    named = _by_id(_decode_record(record.raw).files or ())
    unlisted = named.keys() - raw_list.keys()
    file_list = msgspec.json.encode([*raw_list.values(), *(named[key] for key in named if key in unlisted)])
    article = read_article(record.raw, file_list)
    is_measured = not any(map(_is_unmeasured, [*raw_list.values(), *named.values()]))
    refusal = str(error) if error is not None else ""
    doubt = ""
    if isinstance(error, TransientError) and not article.odd_files:
        doubt = _not_had(refusal)
    elif record.private or not article.withheld or article.odd_files:  # else it announces nothing
        doubt = _doubt(article, len(unlisted), len(named), refusal, is_measured=is_measured)
    problem = "" if doubt else refusal
    return replace(record, article=article, file_list=file_list, doubt=doubt, list_problem=problem)


def _not_had(refusal: str) -> str:
    return f"its file list could not be fetched: {refusal}"


def _doubt(article: Article, unlisted: int, named: int, refusal: str, *, is_measured: bool) -> str:
    """Return which announced files or bytes the list lacks, "" if none."""
    if article.odd_files:
        more = len(article.odd_files) - MOST_NAMED
        return ", ".join(article.odd_files[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    total = _total(article)
    if refusal and article.size > total:
        return _not_had(refusal)
    if unlisted and not refusal:
        return f"its file list lacks {unlisted} of the {named} files that the record names"
    if total < article.size and is_measured:
        return f"its files add up to {total} bytes, its record says {article.size}"
    return ""


def _is_unmeasured(piece: msgspec.Raw) -> bool:
    """Return whether a list gives no size for a file: then sizes prove nothing."""
    try:
        file = _decode_file(bytes(piece))
    except InvalidResponse:  # no file at all
        return True
    return file.size is None and not file.is_link_only


def with_known_files(record: Record, raw: bytes, file_list: bytes | None, known: Collection[int]) -> Record:
    """
    Add to a doubtful record the known files that it lacks; `known`: their ids.

    If it is the same version, add all files that were listed before, as some may still be pending.
    `raw` and `file_list`: the record and its list when the files were fetched.
    """
    before = _by_id((decode_raw_list(file_list) if file_list else _decode_record(raw).files) or ())
    raw_list = _by_id(decode_raw_list(record.file_list)) if record.file_list else {}
    # A listed file that can no longer be read counts as missing.
    here = {str(file_id) for file_id in known}.difference(str(file.id) for file in record.article.files)
    kept = {file_id: piece for file_id, piece in before.items() if file_id in here}
    is_same = not record.private and read_article(raw).version == record.article.version
    merged = msgspec.json.encode(list({**(before if is_same else {}), **raw_list, **kept}.values()))
    return replace(record, article=read_article(record.raw, merged), file_list=merged)


def requests_for(record: Record) -> int:
    """Return how many requests the file list of a record took, with an empty page after full ones."""
    if record.file_list is None:
        return 0
    return len(record.article.files) // PAGE_SIZE + (2 if 0 < len(record.article.files) < PAGE_SIZE else 1)


def _by_id(raw_list: Iterable[msgspec.Raw]) -> dict[str, msgspec.Raw]:
    """Return files by their ids, as text, each once."""
    return {_id_in(piece): piece for piece in raw_list}


def _id_in(piece: msgspec.Raw) -> str:
    """Return a file's id as text, a hash of its entry if it has none."""
    text = bytes(piece)
    try:
        file_id = _decode_file(text).id
        return str(whole_number(file_id))
    except Unclear:
        return repr(file_id)
    except InvalidResponse:
        return hashlib.md5(text, usedforsecurity=False).hexdigest()
