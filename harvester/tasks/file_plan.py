"""File plan: which files of a record are fetched, and where each goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from msgspec.structs import replace

from harvester.config import FileRules
from harvester.figshare.records import METADATA_ONLY
from harvester.models import Article, PlannedFile, RemoteFile
from harvester.states import ANOTHER_VERSION, FileStatus
from harvester.storage.paths import assign_paths, item_dir


def plan_files(
    article: Article,
    here: Mapping[int, tuple[RemoteFile, str]],
    rules: FileRules,
    *,
    folder: str = "",
    is_wanted: bool = True,
    own: bool = False,
    refused: Mapping[int, str] = MappingProxyType({}),
    now: str = "",
) -> tuple[PlannedFile, ...]:
    """
    Return the files of a record, each with its status and its path.

    A fetched file that has not changed is done. The others are pending, unless the file rules, their kind or
    the state of the item prevent that.

    `here`: fetched files: file id to the file and its path.
    `folder`: where the files go; "" for the folder of the item's current version.
    `is_wanted`: whether this version of the item is wanted.
    `own`: the record is the account's, so withheld files are requested with the token.
    `refused`: file id to the reason of files that were refused to the token, if the record is unchanged.
    `now`: ISO 8601; an embargo that ends before then does not withhold files.
    """
    files = _files_of(article, here, own=own)
    kept = {file.id: here[file.id][1] for file in files if file.id in here}
    paths = assign_paths(folder or item_dir(article.id), files, kept)
    withheld = _withheld(article, files, refused, own=own, now=now)

    def decide(file: RemoteFile) -> tuple[FileStatus, str]:
        """
        Return the status of a file, and the reason if it is withheld, or skipped
        though the rules accept it.
        """
        old = here.get(file.id)
        if file.is_link:
            return FileStatus.LINK, ""
        if old is not None and (old[0].md5, old[0].size) == (file.md5, file.size):
            return FileStatus.DONE, ""
        if reason := withheld.get(file.id):
            return FileStatus.WITHHELD, reason
        if not is_wanted:
            return FileStatus.SKIPPED, ANOTHER_VERSION
        return FileStatus.PENDING if rules.accepts(full_name(file), file.size) else FileStatus.SKIPPED, ""

    return tuple(PlannedFile(file, paths[file.id], *decide(file)) for file in files)


def _files_of(
    article: Article, here: Mapping[int, tuple[RemoteFile, str]], *, own: bool
) -> Sequence[RemoteFile]:
    """Return the files to plan, each once, completed by known md5s and sizes."""
    files = {file.id: _with_known_sum(file, here.get(file.id)) for file in article.files}
    if article.withheld not in {"", METADATA_ONLY} and not own:
        # A public record under embargo lists no files: the fetched ones are kept.
        files = {file_id: file for file_id, (file, _) in here.items()} | files
    return tuple(files.values())


def _withheld(
    article: Article, files: Sequence[RemoteFile], refused: Mapping[int, str], *, own: bool, now: str
) -> Mapping[int, str]:
    """Return the reason why each file is withheld, "" or no entry for one that is not."""
    if article.withheld and "" < article.embargo_until <= now:
        return {}
    public = {} if own else dict.fromkeys((file.id for file in files), article.withheld)
    return {**public, **refused}


def _with_known_sum(file: RemoteFile, old: tuple[RemoteFile, str] | None) -> RemoteFile:
    """Return a file with its known md5 or size if the record lacks it."""
    if old is None:
        return file
    before, _ = old
    if file.size == 0 and file.md5 is not None and before.md5 == file.md5:
        return replace(file, size=before.size)
    if file.md5 is None and before.size == file.size:
        return replace(file, md5=before.md5)
    return file


def are_placed(files: Sequence[PlannedFile], folder: str) -> bool:
    """Return whether files have the paths that the record alone gives them."""
    paths = assign_paths(folder, [each.file for each in files], {})
    return all(each.path == paths[each.file.id] for each in files)


def full_name(file: RemoteFile) -> str:
    """Return ``folder/name``, which file rules are matched against."""
    return f"{file.folder}/{file.name}" if file.folder else file.name
