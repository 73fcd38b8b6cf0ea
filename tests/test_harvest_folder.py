"""Reading a harvest from a program: rows, records and data frames, during a run and after it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import anyio
import pandas
import polars
import pytest

import harvester
from harvester import HarvestFolder, Progress, Rows, UsageError, harvest
from harvester.exporters import frames
from harvester.exporters.columns import Column, Type
from harvester.exporters.tables import FAILURES, TABLES
from harvester.sandbox import Sandbox, Settings
from tests.support.program import config

NAMES = [table.name for table in (*TABLES, FAILURES)]


@pytest.fixture(scope="module")
def harvested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A harvest with rows in every table."""
    folder = tmp_path_factory.mktemp("harvest")

    async def make() -> None:
        async with Sandbox(Settings(items=40, heavy=0)) as sandbox:
            options = {
                "tasks": ["metadata", "stats", "timeline", "breakdown", "files"],
                "versions": "all",
                "stats.since": "2024-01-01",
                "stats.until": "2024-02-15",
                "stats.counters": ["views", "downloads", "shares"],
                "files.max_size": "1 kB",
                "sources": [{"kind": "search", "query": "survey"}, {"kind": "items", "ids": [1]}],
            }
            await harvest(config(sandbox, folder, **options))

    anyio.run(make)
    return folder


@pytest.fixture
def folder(harvested: Path) -> Iterator[HarvestFolder]:
    with harvester.open(harvested) as opened:
        yield opened


def rows_of(folder: HarvestFolder, name: str) -> Rows[Any]:
    rows: Rows[Any] = getattr(folder, name)()
    return rows


@pytest.mark.parametrize("name", NAMES)
def test_the_rows_are_those_of_the_csv_file(folder: HarvestFolder, name: str) -> None:
    with (folder.path / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    rows = rows_of(folder, name)
    assert [column.name for column in rows.columns] == header
    exact = [place for place, column in enumerate(rows.columns) if column.type not in {Type.TEXT, Type.TEXTS}]
    assert lines
    assert [["" if row[place] is None else str(row[place]) for place in exact] for row in rows] == [
        [line[place] for place in exact] for line in lines
    ]


def test_a_row_has_its_columns_as_attributes(folder: HarvestFolder) -> None:
    item = next(iter(folder.items()))
    assert item.title
    assert item.published_date.startswith("20")
    assert item.authors
    done = [file for file in folder.files() if file.status == "done"]
    assert sum(file.size for file in done) == sum((folder.path / file.path).stat().st_size for file in done)


def test_records_are_those_of_the_jsonl_file(folder: HarvestFolder) -> None:
    lines = (folder.path / "metadata.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    assert list(folder.records()) == [json.loads(line) for line in lines]


def test_each_iteration_starts_over(folder: HarvestFolder) -> None:
    rows = folder.items()
    assert next(iter(rows)) == next(iter(rows))
    assert len(list(rows)) == len(list(rows)) > 10


def test_a_closed_harvest_is_read_no_more(harvested: Path) -> None:
    with harvester.open(str(harvested)) as folder:
        rows = iter(folder.items())
        next(rows)
    for read in (rows, iter(folder.files()), folder.records()):
        with pytest.raises(ValueError, match="this harvest was closed"):
            next(read)


def test_a_folder_without_a_harvest_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a harvest folder"):
        harvester.open(tmp_path)


def test_a_star_import_leaves_the_open_of_python() -> None:
    names: dict[str, Any] = {}
    exec("from harvester import *", names)
    assert "open" not in names
    assert names["harvest"] is harvest


@pytest.mark.anyio
async def test_a_harvest_is_read_while_it_runs(tmp_path: Path) -> None:
    seen: list[int] = []

    def look(progress: Progress) -> None:
        if not progress.has_ended:
            with harvester.open(tmp_path) as folder:
                seen.append(len(list(folder.items())))

    async with Sandbox(Settings(items=12, heavy=0, latency=0.1)) as sandbox:
        job = config(sandbox, tmp_path, tasks=["metadata"], **{"concurrency.workers": 1})
        await harvest(job, on_progress=look)
    assert seen[0] == 0
    assert seen == sorted(seen)
    assert seen[-1] > 0


# -- frames ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_frames_have_the_rows_and_a_type_for_each_column(folder: HarvestFolder, name: str) -> None:
    rows = rows_of(folder, name)
    panda, polar = rows.to_pandas(), rows.to_polars()
    assert panda.shape == polar.shape == (len(list(rows)), len(rows.columns))
    for column in rows.columns:
        kinds = {
            Type.INTEGER: ("Int64", polars.Int64),
            Type.TEXTS: ("object", polars.List(polars.String)),
            Type.TIME: ("datetime64[us, UTC]", polars.Datetime("us", "UTC")),
            Type.DAY: ("datetime64[s]", polars.Date),
        }
        expected = kinds.get(column.type, ("string", polars.String))
        assert (str(panda[column.name].dtype), polar[column.name].dtype) == expected, column.name


def test_frames_of_statistics_add_up(folder: HarvestFolder) -> None:
    views = sum(row.total_views or 0 for row in folder.stats())
    assert folder.stats().to_pandas()["total_views"].sum() == views > 0
    assert folder.stats().to_polars()["total_views"].sum() == views
    months = {date.fromisoformat(row.date) for row in folder.stats_timeline()}
    assert set(folder.stats_timeline().to_polars()["date"]) == months
    assert {time.date() for time in folder.stats_timeline().to_pandas()["date"]} == months


def test_cells_that_a_frame_cannot_hold_are_missing_values() -> None:
    columns = [Column(kind.value, kind, "") for kind in Type]
    rows = [
        (5, "a\ud800", ("b\udfff", "c"), "2024-02-29T12:00:00+02:00", "2024-02-29", "done"),
        (2**64, "", (), "yesterday", "2024-02-30", ""),
        (None, None, None, "", None, None),
    ]
    time, day = datetime(2024, 2, 29, 10, tzinfo=UTC), date(2024, 2, 29)
    expected: list[list[object]] = [
        [5, "a?", ["b?", "c"], time, day, "done"],
        [None, "", [], None, None, ""],
        [None, None, None, None, None, None],
    ]
    assert [list(row) for row in frames.to_polars(columns, rows).rows()] == expected
    panda = frames.to_pandas(columns, rows)
    missing = [[cell is None for cell in row] for row in expected]
    whole = panda.drop(columns=Type.TEXTS.value).isna().to_numpy().tolist()
    assert whole == [[cell for place, cell in enumerate(row) if place != 2] for row in missing]
    assert panda.loc[0, "integer"] == 5
    assert panda.loc[0, "time"] == pandas.Timestamp(time)
    assert panda.loc[0, "day"] == pandas.Timestamp(day)


@pytest.mark.parametrize("package", ["pandas", pytest.param("polars", marks=pytest.mark.nightly)])
def test_a_frame_without_its_package_is_one_line_of_advice(harvested: Path, package: str) -> None:
    program = (
        f"import sys; sys.modules['{package}'] = None\n"
        f"import harvester\n"
        f"try: harvester.open({str(harvested)!r}).items().to_{package}()\n"
        f"except harvester.UsageError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == (
        f"a frame of {package}: needs the package {package}, which is not installed: "
        f"pip install 'figshare-harvester[{package}]'\n"
    ), done.stderr
