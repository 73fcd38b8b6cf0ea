"""What each case must show: the result that a script prints, or the expectation for one that prints none."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TELL_NO_VERDICT = "nothing here knows what is right; see tests/support/case_judges.py"


# -- scripts --------------------------------------------------------------------------------------


def judge_script(name: str, status: int, printed: str) -> tuple[str, Sequence[str]]:
    """Return the result that a script prints, or its exit status where that says it."""
    lines = printed.splitlines()
    if skipped := [line for line in lines if line.rstrip().endswith("not tried")]:
        return "not tried", tuple(skipped)
    if wrong := [line.strip() for line in lines if re.match(r"WRONG|BAD ", line)]:
        return "WRONG", tuple(line[:300] for line in wrong)
    if status:
        return "WRONG", (f"exit status {status}: {lines[-1].strip()[:300] if lines else 'nothing printed'}",)
    if "RIGHT" in lines or (name.endswith(".py") and name.startswith("attack/")):
        return "RIGHT", ()
    return "not tried", (TELL_NO_VERDICT,)


def _list_with_repeats(status: int, printed: str) -> list[str]:
    """A list in which each id stands five times gives each once, to its end."""
    if status == 0 and "exit 0; ids printed: 4000 of 4000" in printed:
        return []
    return [_last(printed)]


def _readonly_reader(_: int, printed: str) -> list[str]:
    """Who may read a harvest and not write it sees its state and what failed."""
    said = [line for line in printed.splitlines() if line.startswith("nobody:")]
    return [line for line in said if not re.match(r"nobody: \[.*?\] 0 ", line)] + [
        f"{len(said)} of 3 commands were tried: {_last(printed)}" for _ in range(len(said) != 3)
    ]


def _untrusted_certificate(_: int, printed: str) -> list[str]:
    """An untrusted certificate ends the run, and the message says so."""
    faults = []
    if "exit 3" not in printed.splitlines():
        faults.append(
            f"not exit 3 but {next((x for x in printed.splitlines() if x.startswith('exit ')), '')!r}"
        )
    if "certificate" not in printed.lower():
        faults.append("nothing is said of the certificate")
    return faults


def _last(printed: str) -> str:
    return next((line.strip()[:300] for line in reversed(printed.splitlines()) if line.strip()), "no word")


JUDGES: Mapping[str, Callable[[int, str], list[str]]] = {
    "attack/r01_list_with_repeats.sh": _list_with_repeats,
    "attack/r02_readonly_reader.sh": _readonly_reader,
    "attack/r18_untrusted_certificate.sh": _untrusted_certificate,
}
"""For scripts that print what they saw and leave the judgement to the reader."""


# -- records --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Harvest:
    """What a harvest of one case left: its folder, what was printed, what was asked."""

    folder: Path
    printed: str
    log: Path

    @property
    def status(self) -> int:
        found = re.search(r"^exit status (\d+)$", self.printed, re.MULTILINE)
        return int(found[1]) if found else -1

    def rows(self, table: str) -> list[dict[str, str]]:
        """A table's rows, () where it is not there."""
        path = self.folder / table
        if not path.is_file():
            return []
        with path.open(encoding="utf-8", newline="") as handle:
            return list(csv.DictReader(handle))

    def asked(self) -> list[str]:
        """Each request: ``GET /path?query body auth=yes``."""
        return self.log.read_text(encoding="utf-8").splitlines()

    def ended_well(self) -> list[str]:
        """Say where it did not end with 0 and no failure."""
        if self.status == 0:
            return []
        errors = [row["error"] for row in self.rows("failures.csv")]
        return [f"exit status {self.status}: {'; '.join(errors) or _last_but_status(self.printed)}"]

    def item(self, **cells: str) -> list[str]:
        """Say what differs in the only row of items.csv."""
        found = self.rows("items.csv")
        if len(found) != 1:
            return [f"{len(found)} rows in items.csv, not 1"]
        return [
            f"{column} is {found[0][column]!r}, not {cell!r}"
            for column, cell in cells.items()
            if found[0][column] != cell
        ]


def _last_but_status(printed: str) -> str:
    return _last("\n".join(line for line in printed.splitlines() if not line.startswith("exit status")))


@dataclass(frozen=True)
class Expected:
    """How a case of ``records`` is harvested, and what must come of it."""

    words: tuple[str, ...]
    judge: Callable[[Harvest], list[str]]
    token: str = ""


def _semicolons(harvest: Harvest) -> list[str]:
    """Several values in a cell are distinct, also where one has the separator in it."""
    faults = harvest.ended_well() + harvest.item(id="7")
    if faults:
        return faults
    (row,) = harvest.rows("items.csv")
    for column, wanted in (
        ("categories", ["Sounds and echoes; ripples", "Soil"]),
        ("authors", ["A; B", "C"]),
    ):
        if (found := values_in(row[column])) != wanted:
            faults.append(f"{column} {row[column]!r} reads as {found}, not as {wanted}")
    return faults


def values_in(cell: str) -> list[str]:
    """Read a cell of several values, as the README says."""
    return next(csv.reader([cell], delimiter=";", skipinitialspace=True), [])


def _own_embargo(harvest: Harvest) -> list[str]:
    """A file of one's own under embargo is asked of the api with the token, and comes."""
    faults = harvest.ended_well() + harvest.item(id="7", files="1")
    asked = [line for line in harvest.asked() if "/file/download/51 " in line]
    if not asked or not asked[0].endswith("auth=yes"):
        faults.append(f"the file was not asked of the api with the token: {asked}")
    if [row["status"] for row in harvest.rows("files.csv")] != ["done"]:
        faults.append(f"files.csv: {harvest.rows('files.csv')}")
    return faults


def _handle(harvest: Harvest) -> list[str]:
    """An item without a DOI is found by its handle."""
    return harvest.ended_well() + harvest.item(id="7", title="T 7", doi="")


def _licence(harvest: Harvest) -> list[str]:
    """A licence that no public list names is checked by the records, with a warning."""
    faults = harvest.ended_well() + harvest.item(id="7", licence="CC BY-NC-ND 4.0")
    if not [line for line in harvest.printed.splitlines() if "NC-ND" in line and "licen" in line.lower()]:
        faults.append("no warning names the licence")
    return faults


def _date(harvest: Harvest) -> list[str]:
    """The date of a new version is the one that figshare gives."""
    at = "2024-03-08T14:44:22Z"
    return harvest.ended_well() + harvest.item(id="7", published_date=at, created_date=at, modified_date=at)


def _umlauts(harvest: Harvest) -> list[str]:
    """Umlauts are UTF-8 in the tables and in the records."""
    faults = harvest.ended_well() + harvest.item(
        title="Böden in Österreich – Größe", authors="Jürgen Müßig", doi="10.5072/fk2.7.v1"
    )
    record = harvest.folder / "metadata.jsonl"
    if not record.is_file() or "B\\u00f6den" not in record.read_text(encoding="utf-8"):
        faults.append("metadata.jsonl does not have the record as it was sent")
    return faults


def _versions(harvest: Harvest) -> list[str]:
    """One file in two versions has two distinct rows, also before it is fetched."""
    found = harvest.rows("files.csv")
    faults = harvest.ended_well()
    if [row["file_id"] for row in found] != ["70"] * 2:
        faults.append(f"files.csv: {found}")
    if len({tuple(row.items()) for row in found}) != len(found):
        faults.append("two rows of files.csv are alike")
    if [row["version"] for row in harvest.rows("versions.csv")] != ["1"]:
        faults.append(f"versions.csv: {harvest.rows('versions.csv')}")
    return faults


_SEARCH = ("run", "--search", "x", "--tasks", "metadata,files")
RECORDS: Mapping[str, Expected] = {
    "records/category-with-semicolon.json": Expected(_SEARCH, _semicolons),
    "records/embargo-own.json": Expected(
        ("run", "--account", "--tasks", "metadata,files"), _own_embargo, token="t"
    ),
    "records/handle-no-doi.json": Expected(
        ("run", "--item", "12345/900001", "--tasks", "metadata,files"), _handle
    ),
    "records/licence-not-listed.json": Expected((*_SEARCH, "--licence", "CC BY-NC-ND 4.0"), _licence),
    "records/new-version-date.json": Expected(_SEARCH, _date),
    "records/umlauts.json": Expected(_SEARCH, _umlauts),
    "records/versions-alike.json": Expected(
        ("run", "--item", "7", "--versions", "all", "--tasks", "metadata"), _versions
    ),
}
