"""Output formats: a new one, their options, the typed tables and what a package format is made of."""

from __future__ import annotations

import csv
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pytest

from harvester import harvest, load_config
from harvester.config import Config
from harvester.errors import UsageError
from harvester.exporters import Exporter
from harvester.exporters.columns import Table, Type
from harvester.exporters.csv_file import write_table
from harvester.exporters.tables import FAILURES, TABLES
from harvester.figshare.describe import Creator, Funding, PackageMetadata, RelatedIdentifier, Rights, describe
from harvester.jobs.export import export
from harvester.jobs.prune import removable
from harvester.ledger.reader import Reader
from harvester.plugins import ALWAYS_EXPORTED, EXPORTERS, Registry
from harvester.sandbox import Sandbox, Settings
from tests.support.orphans import harvest_with_orphans
from tests.support.program import at, config, harvester
from tests.support.truth import rows

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Titles:
    format: ClassVar[str] = "titles"
    files: ClassVar[Sequence[str]] = ("titles.txt",)
    capitals: bool = False

    def export(self, reader: Reader, folder: Path) -> list[Path]:
        titles = [describe(item.raw).title for item in reader.items()]
        text = "".join(f"{title.upper() if self.capitals else title}\n" for title in titles)
        (folder / "titles.txt").write_text(text, encoding="utf-8")
        return [folder / "titles.txt"]


@dataclass(frozen=True)
class Taking:
    """Says that the file lists and every file below `files/` are its own."""

    format: ClassVar[str] = "taking"
    files: ClassVar[Sequence[str]] = ("files/*",)

    def export(self, reader: Reader, folder: Path) -> list[Path]:
        return []


@dataclass(frozen=True)
class SecondCsv:
    format: ClassVar[str] = "second"
    files: ClassVar[Sequence[str]] = ("items.csv",)

    def export(self, reader: Reader, folder: Path) -> list[Path]:
        return []


EXAMPLE = (Path(__file__).parent.parent / "config.example.toml").read_text(encoding="utf-8")
REGISTRY = EXPORTERS.extended(
    titles="tests.test_exporters:Titles",
    taking="tests.test_exporters:Taking",
    second="tests.test_exporters:SecondCsv",
    sheets="tests.support.missing_extra:Sheets",
)


def read_config(folder: Path, text: str, **options: object) -> Config:
    path = folder / "harvest.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, options=options, environ={}, exporters=REGISTRY)


def with_exports(config: Config, other: Config) -> Config:
    """A config with the output formats of another one."""
    return Config(**{**vars(config), "export": other.export, "exporters": other.exporters})


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(UsageError) as error:
        read_config(folder, text)
    return str(error.value).splitlines()


async def test_an_exporter_from_outside_is_one_class_and_its_options_are_keys(
    tmp_path: Path,
) -> None:
    text = '[export]\nformats = ["csv", "titles"]\n[export.titles]\ncapitals = true\n'
    made = read_config(tmp_path, text)
    async with Sandbox(Settings(items=12)) as sandbox:
        found = config(sandbox, tmp_path / "h", tasks=["metadata"])
        both = with_exports(found, made)
        assert (await harvest(both)).exit_status == 0
    titles = [row["title"].upper() for row in rows(tmp_path / "h" / "items.csv")]
    assert len(titles) == 12
    assert (tmp_path / "h" / "titles.txt").read_text(encoding="utf-8").splitlines() == titles
    assert not (tmp_path / "h" / "metadata.jsonl").exists()
    assert tmp_path / "h" / "titles.txt" in await export(both)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "[export.titles]\ncapital = true\n",
            'harvest.toml, line 2: export.titles.capital: unknown key (did you mean "capitals"?); '
            "known: capitals",
        ),
        (
            "[export.titles]\ncapitals = 1\n",
            "harvest.toml, line 2: export.titles.capitals: expected true or false, got 1",
        ),
        (
            "[export.csv]\nbom = true\n",
            "harvest.toml, line 2: export.csv.bom: unknown key; known: byte_order_mark",
        ),
        ("[export.jsonl]\nx = 1\n", "harvest.toml, line 2: export.jsonl.x: unknown key; known: none"),
        ("export.csv = 5\n", "harvest.toml, line 1: export.csv: expected a table: [export.csv]"),
    ],
)
def test_a_wrong_option_is_named_with_its_key(tmp_path: Path, text: str, fault: str) -> None:
    assert faults(tmp_path, text) == [fault]


def test_options_of_an_unknown_format_are_a_fault(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, "[export.title]\ncapitals = true\n")
    message = (
        'harvest.toml, line 1: export.title: unknown "title" (did you mean "titles"?); known: jsonl, csv,'
    )
    assert fault.startswith(message)


@pytest.mark.parametrize("name", sorted(ALWAYS_EXPORTED))
def test_outputs_that_are_always_written_are_no_format(tmp_path: Path, name: str) -> None:
    assert faults(tmp_path, f'[export]\nformats = ["{name}"]\n')
    assert faults(tmp_path, f"[export.{name}]\nsummary = 5\n")


@pytest.mark.parametrize("name", sorted(EXPORTERS.keys() - ALWAYS_EXPORTED))
def test_each_option_is_described_and_stands_in_the_example(name: str) -> None:
    text = EXAMPLE[EXAMPLE.index("[export]") :]
    example = tomllib.loads(re.sub(r"^# (?=\[export\.|\w+ = )", "", text, flags=re.MULTILINE))
    options = {field.name: field for field in fields(EXPORTERS[name])}
    assert example["export"].get(name, {}) == {key: field.default for key, field in options.items()}
    assert all(field.metadata["description"] for field in options.values())


async def test_a_format_whose_package_is_missing_is_refused_before_any_work(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    message = (
        "sheets: needs the package a_package_that_nobody_has, which is not installed: "
        "pip install 'figshare-harvester[sheets]'"
    )
    assert faults(tmp_path, "[export.sheets]\n") == [f"harvest.toml, line 1: export.sheets: {message}"]
    found = config(sandbox, tmp_path / "h")
    wanted = read_config(tmp_path, '[export]\nformats = ["sheets"]\n')
    with pytest.raises(UsageError) as error:
        await harvest(with_exports(found, wanted))
    assert str(error.value) == message
    assert not (tmp_path / "h").exists()


async def test_two_formats_that_write_the_same_file_are_refused(tmp_path: Path) -> None:
    wanted = read_config(tmp_path, '[export]\nformats = ["csv", "second"]\n')
    with pytest.raises(UsageError, match=r"^export.formats: csv and second both write items.csv$"):
        await export(wanted)


async def test_prune_keeps_the_files_of_output_formats(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=20, heavy=0)) as sandbox:
        await harvest_with_orphans(sandbox, tmp_path / "h")
        found = config(sandbox, tmp_path / "h")
        assert removable(found)
        wanted = read_config(tmp_path, '[export]\nformats = ["taking"]\n')
        assert (
            removable(Config(**{**vars(found), "export": wanted.export, "exporters": wanted.exporters})) == []
        )


async def test_csv_with_a_byte_order_mark_for_excel(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ("run", "--item", sandbox.world.public_ids[0], "-o", "h", *at(sandbox))
    assert (await harvester(*words, cwd=tmp_path)).status == 0
    before = (tmp_path / "h" / "items.csv").read_bytes()
    (tmp_path / "harvester.toml").write_text('output = "h"\n[export.csv]\nbyte_order_mark = true\n')
    ended = await harvester("export", "-c", "harvester.toml", cwd=tmp_path)
    assert ended.status == 0, ended.err
    for table in TABLES:
        assert (tmp_path / "h" / f"{table.name}.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    assert (tmp_path / "h" / "items.csv").read_bytes() == b"\xef\xbb\xbf" + before


PYTHON_TYPES: dict[Type, type] = {**dict.fromkeys(Type, str), Type.INTEGER: int, Type.TEXTS: tuple}


@pytest.mark.parametrize("table", [*TABLES, FAILURES], ids=lambda table: table.name)
def test_a_table_and_each_of_its_columns_is_described(table: Table[Any]) -> None:
    assert len(set(table.header)) == len(table.columns)
    for text in (table.description, *(column.description for column in table.columns)):
        assert text[0].isupper() or text.startswith("figshare"), text
        assert text.endswith("."), text


async def test_each_cell_has_the_type_of_its_column(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=200)) as sandbox:
        options = {
            "tasks": ["metadata", "stats", "timeline", "breakdown", "files"],
            "versions": "all",
            "stats.since": "2024-01-01",
            "stats.until": "2024-02-15",
            "stats.counters": ["views", "downloads", "shares"],
            "files.max_size": "1 kB",
            "sources": [
                {"kind": "search", "query": ":category: 'Digital Humanities'"},
                {"kind": "items", "ids": [1]},
            ],
        }
        await harvest(config(sandbox, tmp_path, **options))
    filled: set[tuple[str, str]] = set()
    with Reader(tmp_path) as reader:
        for table in (*TABLES, FAILURES):
            for row in table.rows(reader):
                for column, value in zip(table.columns, row, strict=True):
                    if value is not None:
                        assert isinstance(value, PYTHON_TYPES[column.type]), (table.name, column.name, value)
                        filled.add((table.name, column.name))
    never = {(table.name, column.name) for table in (*TABLES, FAILURES) for column in table.columns} - filled
    assert never == {("failures", "file_id")}


async def test_items_come_with_the_files_that_their_records_list(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=36)) as sandbox:
        await harvest(config(sandbox, tmp_path, versions="all", tasks=["metadata"]))
    with Reader(tmp_path) as reader:
        found = [(item.id, item.version, files) for item, files in reader.items_with_files()]
        assert [(item_id, version) for item_id, version, _ in found] == [
            (item.id, item.version) for item in reader.items()
        ]
        counted = [item.files for item in reader.items()]
        assert [len(files) for *_, files in found] == counted
        assert 0 in counted
        assert max(counted) > 10
        assert [file for *_, files in found for file in files] == list(reader.files())
    assert any(version for _, version, _ in found)
    for item_id, version, files in found:
        assert {file.item_id for file in files} <= {item_id}
        place = f"files/{item_id}.v{version}/" if version else f"files/{item_id}/"
        assert all(file.path.startswith(place) for file in files if file.path)


def test_a_record_is_described_for_package_formats() -> None:
    record = {
        "id": 5,
        "title": "Soil",
        "description": "<p>Cores</p>",
        "doi": "10.6084/m9.figshare.5.v2",
        "handle": "",
        "defined_type_name": "dataset",
        "url_public_html": "https://figshare.com/articles/dataset/Soil/5",
        "citation": "Doe (2024). Soil.",
        "version": 2,
        "created_date": "2024-01-01T00:00:00Z",
        "published_date": "2024-01-02T00:00:00Z",
        "modified_date": "2024-01-03T00:00:00Z",
        "authors": [
            {"id": 1, "full_name": "Jane Doe", "orcid_id": "https://orcid.org/0000-0002-1825-0097"},
            {"id": 2, "full_name": "李 明", "orcid_id": "0000-0001-5109-3700"},
            {"id": 3, "full_name": "No One", "orcid_id": ""},
            None,
        ],
        "categories": [{"id": 7, "title": "Soil Sciences"}],
        "tags": ["soil", "core", "soil"],
        "license": {"value": 1, "name": "CC BY 4.0", "url": "https://creativecommons.org/licenses/by/4.0/"},
        "funding": "NSF 12",
        "funding_list": [
            {
                "id": 9,
                "title": "Deep soil",
                "grant_code": "12",
                "funder_name": "NSF",
                "url": "https://app.dimensions.ai/9",
            }
        ],
        "resource_doi": "10.1000/paper",
        "resource_title": "A paper",
        "references": ["https://example.org/a", "10.1000/paper"],
        "related_materials": [
            {
                "id": 1,
                "identifier": "10.1000/data",
                "identifier_type": "DOI",
                "relation": "IsDerivedFrom",
                "title": "Source",
            }
        ],
    }
    assert describe(orjson.dumps(record)) == PackageMetadata(
        id=5,
        title="Soil",
        description="<p>Cores</p>",
        doi="10.6084/m9.figshare.5.v2",
        type="dataset",
        url="https://figshare.com/articles/dataset/Soil/5",
        citation="Doe (2024). Soil.",
        version=2,
        created_date="2024-01-01T00:00:00Z",
        published_date="2024-01-02T00:00:00Z",
        modified_date="2024-01-03T00:00:00Z",
        creators=(
            Creator("Jane Doe", "0000-0002-1825-0097"),
            Creator("李 明", "0000-0001-5109-3700"),
            Creator("No One"),
        ),
        subjects=("Soil Sciences",),
        keywords=("soil", "core"),
        rights=Rights("CC BY 4.0", "https://creativecommons.org/licenses/by/4.0/"),
        funding=(Funding("NSF", "Deep soil", "12", "https://app.dimensions.ai/9"),),
        related=(
            RelatedIdentifier("10.1000/data", "DOI", "IsDerivedFrom", "Source"),
            RelatedIdentifier("10.1000/paper", "DOI", "IsSupplementTo", "A paper"),
            RelatedIdentifier("https://example.org/a", "URL"),
        ),
    )


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"id": 5}', PackageMetadata(5)),
        (b'{"id": 5, "authors": null, "tags": null, "license": null, "version": null}', PackageMetadata(5)),
        (b'{"id": 5, "title": 7, "funding": "NSF", "version": "2"}', PackageMetadata(5, version=2)),
        (b"[]", PackageMetadata(0)),
        (b"{", PackageMetadata(0)),
    ],
)
def test_unclear_values_of_a_record_are_empty_in_its_description(
    raw: bytes, expected: PackageMetadata
) -> None:
    funding = (Funding(title="NSF"),) if b"NSF" in raw else ()
    found = describe(raw)
    assert found.funding == funding
    assert (found.id, found.title, found.version, found.creators, found.keywords, found.rights) == (
        expected.id,
        "",
        expected.version,
        (),
        (),
        None,
    )


async def test_every_record_of_the_sandbox_is_described(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=50)) as sandbox:
        await harvest(config(sandbox, tmp_path, tasks=["metadata"]))
    with Reader(tmp_path) as reader:
        found = [(describe(item.raw), orjson.loads(item.raw)) for item in reader.items()]
    assert len(found) > 40
    assert any(metadata.creators[0].orcid for metadata, _ in found)
    for metadata, record in found:
        assert (metadata.id, metadata.version) == (record["id"], record["version"])
        assert metadata.doi == record["doi"]
        assert [each.name for each in metadata.creators] == [each["full_name"] for each in record["authors"]]
        assert (metadata.rights.name if metadata.rights else None) == (record["license"] or {}).get("name")
        assert [each.identifier for each in metadata.related] == (record["references"] or [])


async def test_a_custom_table_is_rendered_as_csv(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=20)) as sandbox:
        await harvest(config(sandbox, tmp_path, tasks=["metadata"]))
    columns = tuple(column for column in FAILURES.columns if column.name in {"item_id", "error"})
    table = Table("own", "One row.", columns, lambda _: iter([(5, "=1+1"), (None, "a;b")]))
    with Reader(tmp_path) as reader:
        path = write_table(table, reader, tmp_path)
    with path.open(newline="", encoding="utf-8") as handle:
        assert list(csv.reader(handle)) == [["item_id", "error"], ["5", "'=1+1"], ["", "a;b"]]


@pytest.mark.parametrize("name", sorted(REGISTRY.keys() - {"sheets"}))
def test_each_exporter_names_its_files(name: str) -> None:
    exporter: Exporter = REGISTRY[name]()
    assert exporter.files
    assert exporter.format == name


def test_a_module_of_our_own_that_is_missing_is_a_defect_and_not_a_missing_extra() -> None:
    with pytest.raises(ModuleNotFoundError, match="harvester.exporters.nonesuch"):
        Registry(nonesuch="harvester.exporters.nonesuch:Nothing")["nonesuch"]
