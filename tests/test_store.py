"""Paths that stay where they belong, and files that are whole or not there."""

from __future__ import annotations

import errno
import functools
import hashlib
import ntpath
import os
import re
import resource
import shutil
import stat
import subprocess
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path, PureWindowsPath
from tempfile import TemporaryDirectory

import anyio
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harvester.errors import ConnectionFailed, CorruptBody, InsufficientSpace, StorageError
from harvester.models import ItemId, ItemKey, PendingFile, RemoteFile
from harvester.states import FileStatus
from harvester.storage.atomic_file import atomic_write
from harvester.storage.disk_errors import map_disk_errors
from harvester.storage.local.directory import HOLDS_FOLDERS, Directory, begin_to_sync
from harvester.storage.local.store import Store
from harvester.storage.local.verify import is_whole
from harvester.storage.orphans import delete_orphans
from harvester.storage.paths import assign_paths, safe_name
from harvester.system.concurrency import KeyedLocks
from harvester.tasks.files import Files
from tests.support.each import for_each
from tests.support.stores import (
    PLANTED,
    fill,
    held_partial_of,
    no_file_larger_than,
    open_files,
    opened,
    partial_of,
    remote,
)

pytestmark = pytest.mark.anyio


def unheld(text: str) -> str:
    """Show what is said of partial files as if they had been let go of."""
    return re.sub(r"\.[0-9a-f]{8}-\d+-[0-9a-f]{8}", ".free", text)


unhurried = settings(deadline=None)  # what is claimed is no speed, and the machine may be busy


# -- names ----------------------------------------------------------------------------------------

# Letters that are one for some file system: by case, by form, by both, or because they are not seen.
TWINS = "aA\u00c5a\u030a\u212bßẞſsSıiIİǅǆκΚµμᾳ\u0345ιΙ\u0301kK\u212aﬁ\u200b\u202e\u00ad\ufe0f~.1 "
NAMES = (
    st.text(max_size=300)
    | st.text("./\\:~ aA<>|\0\x7f\u061c\u202e\ud800\ufdd0\U0010ffff\u0301", max_size=20)
    | st.text(TWINS, max_size=5)
    | st.text(". ", min_size=150, max_size=250).map(lambda text: text + "long suffix of a name")
    | st.builds(
        "".join,
        st.tuples(
            st.sampled_from(["con", "NUL", "Com1", "lpt²", "COM³", "conin$", "aux.", "prn ", "com0"]),
            st.text(" .x", max_size=3),
            st.text("x. ", max_size=250),
        ),
    )
)


def windows_takes(name: str) -> bool:
    """As Microsoft tells it in "Naming Files, Paths, and Namespaces", and as Python's library does."""
    base, _, rest = name.partition(".")
    device = re.compile("CON|PRN|AUX|NUL|CONIN[$]|CONOUT[$]|(COM|LPT)[0-9\u00b9\u00b2\u00b3]")
    is_short = (
        re.fullmatch("[^.]{1,6}~[0-9]{1,6}", base) and len(base) <= 8 and re.fullmatch("[^.]{0,3}", rest)
    )
    is_reserved = getattr(ntpath, "isreserved", lambda path: PureWindowsPath(path).is_reserved())
    return (
        1 <= len(name.encode("utf-16-le")) // 2 <= 255
        and not re.search(r'[<>:"/\\|?*\x00-\x1f]', name)
        and not name.endswith((" ", "."))
        and not device.fullmatch(base.rstrip(" ").upper())
        and not is_short
        and not is_reserved(name)
        and PureWindowsPath(name).parts == (name,)
    )


def macos_takes(name: str) -> bool:
    """As the kernel does for APFS: assigned characters, and few marks on one letter."""
    marks = most = 0
    for char in unicodedata.normalize("NFD", name):
        marks = marks + 1 if unicodedata.combining(char) else 0
        most = max(most, marks)
    return (
        1 <= len(name.encode()) <= 255
        and not any(unicodedata.category(char) in {"Cn", "Cs"} for char in name)
        and not set(name) & {"/", ":", "\0"}
        and most <= 30
    )


@pytest.fixture(scope="module")
def some_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("names")


@unhurried
@given(name=NAMES)
@example(name="../../etc/passwd")
@example(name="..")
@example(name="CON.txt")
@example(name="con" + " " * 300 + "x")
@example(name="con." + "a" * 300 + ".csv")
@example(name="a" * 300 + ".csv")
@example(name="." * 200 + "y" * 30)
@example(name="ü" * 300)
@example(name="\U0001f9ea" * 300 + ".csv")
@example(name="e" + "\u0301" * 300)
@example(name="\x1b[31mred")
@example(name="half a \ud83e pair")
@example(name="com1 .txt")
@example(name="LONGNA~1.TXT")
def test_any_name_becomes_one_that_every_system_accepts(name: str, some_folder: Path) -> None:
    safe = safe_name(name)
    assert windows_takes(safe)
    assert macos_takes(safe)
    assert safe == unicodedata.normalize("NFC", safe)
    assert not safe.startswith(" ")
    assert all(unicodedata.category(char) not in {"Cc", "Zl", "Zp"} for char in safe)
    assert not any(unicodedata.bidirectional(char) in BIDI_CONTROLS for char in safe)
    assert "\u061c" not in safe
    assert len(safe.encode()) <= 201
    assert safe_name(safe) == safe
    (some_folder / safe).touch()
    assert [path.name for path in some_folder.iterdir()] == [safe]
    (some_folder / safe).unlink()


BIDI_CONTROLS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@for_each(
    ("name", "safe"),
    [
        ("data.csv", "data.csv"),
        ("Ünïcode näme (1).tar.gz", "Ünïcode näme (1).tar.gz"),
        ("../../etc/passwd", ".._.._etc_passwd"),
        ("con.txt", "_con.txt"),
        ("COM¹.tar.gz", "_COM¹.tar.gz"),
        ("console.log", "console.log"),
        (".htaccess", ".htaccess"),
        (" .gitignore", ".gitignore"),
        ("a:b?.csv", "a_b_.csv"),
        ("trailing. .", "trailing"),
        ("PROGRA~1.TXT", "PROGRA_1.TXT"),
        ("approx~10 samples.txt", "approx~10 samples.txt"),
        ("invoice\u202excod.exe", "invoicexcod.exe"),
        ("\u061cدata\u2066.csv", "دata.csv"),
        ("a\ufdd0b\U000e01f5c", "a_bc"),
        ("..", "_"),
        ("\u200b", "_"),
        ("", "_"),
    ],
)
def test_names_a_person_would_recognise(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@unhurried
@given(st.text(st.characters(categories=["Lu", "Ll", "So", "Nd"]), min_size=40, max_size=300))
@example("\U0001f9ea" * 100)
@example("x" + "\U0001f9ea" * 100)
@example("é" * 100)
@example("x" + "語" * 100)
def test_a_long_name_is_cut_between_characters_and_no_shorter_than_it_must_be(name: str) -> None:
    name = unicodedata.normalize("NFC", name)
    stem = safe_name(name + ".csv").removesuffix(".csv")
    assert name.startswith(stem)
    assert stem == name or 177 <= len(stem.encode()) <= 180


# -- paths ----------------------------------------------------------------------------------------


def as_ntfs_compares(path: str) -> str:
    """One character for one, as its table of capitals is: those that grow have none, or a title form."""
    forms = ((char.upper(), char.title(), char) for char in path)
    return "".join(next(form for form in each if len(form) == 1) for each in forms)


def as_apfs_compares(path: str) -> str:
    """Canonical caseless matching, D145 of the Unicode standard."""
    decomposed = unicodedata.normalize("NFD", path)
    return unicodedata.normalize("NFD", decomposed.casefold())


def as_zfs_compares(path: str) -> str:
    """With the strongest of the forms that it may use."""
    return unicodedata.normalize("NFKD", path)


COMPARISONS: list[Callable[[str], str]] = [str, as_ntfs_compares, as_apfs_compares, as_zfs_compares]
IDS = st.lists(st.integers(1, 20) | st.integers(10**7, 10**19), max_size=12, unique=True)


@pytest.mark.parametrize("examples", [25, pytest.param(300, marks=pytest.mark.nightly)])
def test_no_two_files_share_a_path_and_none_leaves_its_folder(examples: int) -> None:
    check = given(ids=IDS, data=st.data())(assert_paths_differ)
    settings(unhurried, max_examples=examples)(check)()


def assert_paths_differ(ids: list[int], data: st.DataObject) -> None:
    short = st.text("aA~1.", max_size=4)
    names = st.sampled_from(ids).map(lambda number: f"a~{number}") | short | NAMES if ids else short
    folders = st.just("") | names | st.lists(names, max_size=3).map("/".join)
    files = [remote(number, data.draw(names), data.draw(folders)) for number in ids]
    earlier = [remote(file.id, data.draw(names), data.draw(folders)) for file in files]
    kept = assign_paths("files/7", earlier, {})
    for file_id in data.draw(st.sets(st.sampled_from(ids))) if ids else ():
        del kept[file_id]
    for paths in (assign_paths("files/7", files, {}), assign_paths("files/7", files, kept)):
        assert paths.keys() == set(ids)
        for path in paths.values():
            assert path.startswith("files/7/")
            assert not {"", ".", ".."} & set(path.split("/"))
            assert len(path.encode()) <= 900
            assert all(len(part.encode()) <= 255 for part in path.split("/"))
        for same in COMPARISONS:
            seen = {same(path) for path in paths.values()}
            assert len(seen) == len(files)
            assert not {same(str(parent)) for path in paths.values() for parent in Path(path).parents} & seen
    assert all(assign_paths("files/7", files, kept)[file_id] == path for file_id, path in kept.items())


@functools.cache
def with_other_forms(letters: range) -> list[str]:
    """Those that are of another case or composed; all others are equal to themselves only."""
    cases: list[Callable[[str], str]] = [str.upper, str.title, str.lower, str.casefold]
    return [
        letter
        for letter in map(chr, letters)
        if any(case(letter) != letter for case in cases) or not unicodedata.is_normalized("NFKD", letter)
    ]


@pytest.mark.parametrize(
    "letters", [range(0x30000), pytest.param(range(0x30000, 0x110000), marks=pytest.mark.nightly)]
)
@pytest.mark.parametrize("same", COMPARISONS[1:])
def test_letters_that_are_equal_to_a_file_system_get_different_paths(
    same: Callable[[str], str], letters: range
) -> None:
    """Letters that have another form are, in Unicode as it is, in the first three planes."""
    for letter in with_other_forms(letters):
        for twin in {same(letter), letter.upper(), letter.title(), letter.lower()} - {letter}:
            if same(twin) == same(letter):
                paths = assign_paths("files/7", [remote(1, f"x{letter}"), remote(2, f"x{twin}")], {})
                assert same(paths[1]) != same(paths[2]), hex(ord(letter))


@unhurried
@given(st.permutations(["data.csv", "DATA.CSV", "data~2.csv", "x", "a/x", "data\u200b.csv"]))
def test_the_order_in_which_files_are_listed_does_not_matter(names: list[str]) -> None:
    ids = {name: number for number, name in enumerate(sorted(names), start=1)}
    files = [remote(ids[name], name.rpartition("/")[2], name.rpartition("/")[0]) for name in names]
    assert assign_paths("files/9", files, {}) == assign_paths(
        "files/9", sorted(files, key=lambda file: file.id), {}
    )


def test_in_a_clash_all_files_get_their_id() -> None:
    files = [
        remote(1, "data.csv"),
        remote(2, "DATA.csv"),
        remote(3, "other.csv"),
        remote(4, "da\u0301.csv"),
        remote(5, "dá.csv"),
        remote(6, "unseen.csv"),
        remote(7, "un\u200bseen.csv"),
        remote(8, "blank"),
        remote(9, "blank. "),
    ]
    assert assign_paths("files/9", files, {}) == {
        1: "files/9/data~1.csv",
        2: "files/9/DATA~2.csv",
        3: "files/9/other.csv",
        4: "files/9/dá~4.csv",
        5: "files/9/dá~5.csv",
        6: "files/9/unseen~6.csv",
        7: "files/9/unseen~7.csv",
        8: "files/9/blank~8",
        9: "files/9/blank~9",
    }


def test_a_name_like_one_with_an_id_shares_no_path() -> None:
    files = [remote(1000001, "data.csv"), remote(2, "data.csv"), remote(3, "data~1000001.csv")]
    assert assign_paths("files/9", files, {}) == {
        1000001: "files/9/data~1000001~1000001.csv",
        2: "files/9/data~2.csv",
        3: "files/9/data~1000001.csv",
    }


def test_a_published_file_keeps_its_path() -> None:
    files = [remote(1, "data.csv"), remote(2, "data.csv")]
    assert assign_paths("files/9", files, {1: "files/9/data.csv"}) == {
        1: "files/9/data.csv",
        2: "files/9/data~2.csv",
    }


def test_an_id_in_a_name_gives_no_published_path() -> None:
    files = [remote(1, "new name"), remote(2, "data.csv"), remote(3, "data.csv")]
    assert assign_paths("files/9", files, {1: "files/9/data~2.csv"}) == {
        1: "files/9/data~2.csv",
        2: "files/9/data~2~2.csv",
        3: "files/9/data~3.csv",
    }


def test_a_folder_with_the_path_of_a_published_file_is_dropped() -> None:
    files = [remote(1, "a"), remote(2, "x", "a"), remote(3, "x", "a/b")]
    assert assign_paths("files/9", files, {1: "files/9/a"}) == {
        1: "files/9/a",
        2: "files/9/x~2",
        3: "files/9/x~3",
    }


def test_a_folder_that_an_earlier_file_needs_is_no_files_path() -> None:
    files = [remote(1, "x", "elsewhere by now"), remote(2, "a")]
    assert assign_paths("files/9", files, {1: "files/9/a/x"}) == {1: "files/9/a/x", 2: "files/9/a~2"}


def test_a_folder_that_is_too_deep_is_dropped() -> None:
    assert assign_paths("files/9", [remote(1, "x.csv", "/".join(["deep"] * 1000))], {}) == {
        1: "files/9/x.csv"
    }


def test_folders_are_kept_and_stay_inside_the_output() -> None:
    files = [
        remote(1, "x", "a/b"),
        remote(2, "x", "../../up"),
        remote(3, "x", "/abs\\win"),
        remote(4, "a", ""),
    ]
    assert assign_paths("files/9", files, {}) == {
        1: "files/9/a/b/x",
        2: "files/9/up/x",
        3: "files/9/abs/win/x",
        4: "files/9/a~4",  # a folder of that name is there
    }


# -- whole or not there ---------------------------------------------------------------------------


@pytest.fixture(params=[True, False], ids=["open folders", "paths"])
def held(request: pytest.FixtureRequest) -> bool:
    """Both ways to reach files: the one of this system, and that of Windows."""
    if request.param and not HOLDS_FOLDERS:
        pytest.skip("this system does not hold folders open")
    return bool(request.param)


async def test_a_verified_file_is_at_its_path_and_nothing_else_is_left(tmp_path: Path, held: bool) -> None:
    store, content = Store(tmp_path, hold_folders=held), os.urandom(100_000)
    await fill(store, remote(5, "x", content=content), content, "files/1/a/x")
    assert (tmp_path / "files/1/a/x").read_bytes() == content
    assert list((tmp_path / ".partial").iterdir()) == []
    assert await store.is_intact("files/1/a/x", len(content), hashlib.md5(content).hexdigest())
    assert not await store.is_intact("files/1/a/x", len(content), "0" * 32)
    assert not await store.is_intact("files/1/a/x", len(content) - 1, None)
    assert not await store.is_intact("files/1/a/y", len(content), None)
    assert not await store.is_intact("files/1/a", (tmp_path / "files/1/a").stat().st_size, None)


async def test_an_empty_file_is_published_too(tmp_path: Path, held: bool) -> None:
    store = Store(tmp_path, hold_folders=held)
    await fill(store, remote(5, "x"), b"", "files/1/x")
    assert (tmp_path / "files/1/x").read_bytes() == b""
    assert list((tmp_path / ".partial").iterdir()) == []


@pytest.mark.parametrize("wrong", [b"wrong bytes!", b"short", b"far too long for it"])
async def test_wrong_bytes_are_never_published_and_deleted(tmp_path: Path, wrong: bytes) -> None:
    store = Store(tmp_path)
    with pytest.raises(CorruptBody) as caught:
        await fill(store, remote(5, "x", content=b"right bytes!"), wrong, "files/1/x")
    assert caught.value.md5 == hashlib.md5(wrong).hexdigest()
    assert not (tmp_path / "files").exists()
    assert list((tmp_path / ".partial").iterdir()) == []


async def test_a_partial_file_is_resumed_by_another_run(tmp_path: Path, held: bool) -> None:
    content = os.urandom(3_000_000)
    file = remote(5, "x", content=content)
    first = await opened(Store(tmp_path, hold_folders=held), 1, file)
    await first.write(content[:2_000_000])
    await first.abort()
    second = await opened(Store(tmp_path, hold_folders=held), 1, file)
    assert second.received == 2_000_000
    await second.write(content[2_000_000:])
    await second.commit("files/1/x")
    await second.abort()
    assert (tmp_path / "files/1/x").read_bytes() == content


async def test_without_an_md5_an_old_beginning_is_not_trusted(tmp_path: Path) -> None:
    file = remote(5, "x", content=b"0123456789", md5=False)
    first = await opened(Store(tmp_path), 1, file)
    await first.write(b"01234")
    await first.abort()
    second = await opened(Store(tmp_path), 1, file)
    assert second.received == 0
    await second.abort()


async def test_a_file_is_not_started_without_space_for_it(tmp_path: Path) -> None:
    store = Store(tmp_path, free_bytes=lambda _: 1000)
    with store.space.reserve(lambda: 600):
        with (
            pytest.raises(InsufficientSpace, match="600 bytes are needed and 400 bytes are free; make room"),
            store.space.reserve(lambda: 600),
        ):
            pytest.fail("there was no room")
        with store.space.reserve(lambda: 400):
            pass
    with store.space.reserve(lambda: 1000):
        pass


def test_a_failed_atomic_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as handle:
        handle.write(b"half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]


# -- links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("place_of_link", [".partial", "files", "files/1", "files/1/a"])
async def test_a_link_in_the_place_of_a_folder_is_not_followed(
    place_of_link: str, tmp_path: Path, held: bool
) -> None:
    outside, link = tmp_path / "outside", tmp_path / "harvest" / place_of_link
    outside.mkdir()
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    with pytest.raises(StorageError) as caught:
        await fill(
            Store(tmp_path / "harvest", hold_folders=held),
            remote(5, "x", content=b"abc"),
            b"abc",
            "files/1/a/x",
        )
    assert str(caught.value) == f"{link}: a link leads out of the output folder; remove it"
    assert list(outside.iterdir()) == []


async def test_a_link_to_nothing_is_not_followed_either(tmp_path: Path, held: bool) -> None:
    (tmp_path / "harvest").mkdir()
    (tmp_path / "harvest" / "files").symlink_to(tmp_path / "made by us")
    with pytest.raises(StorageError, match="a link leads out"):
        await fill(Store(tmp_path / "harvest", hold_folders=held), remote(5, "x"), b"", "files/1/x")
    assert not (tmp_path / "made by us").exists()


async def test_the_output_folder_itself_may_be_a_link(tmp_path: Path, held: bool) -> None:
    (tmp_path / "big disk").mkdir()
    (tmp_path / "harvest").symlink_to(tmp_path / "big disk")
    store = Store(tmp_path / "harvest", hold_folders=held)
    await fill(store, remote(5, "x", content=b"abc"), b"abc", "files/1/x")
    assert (tmp_path / "big disk/files/1/x").read_bytes() == b"abc"
    assert await store.is_intact("files/1/x", 3, None)
    with atomic_write(tmp_path / "harvest" / "table.csv") as handle:
        handle.write(b"abc")
    assert (tmp_path / "big disk/table.csv").read_bytes() == b"abc"


@pytest.mark.parametrize("path", ["files/../../x", "../x", "files//x", "./x"])
async def test_a_path_outside_the_output_is_rejected(path: str, tmp_path: Path, held: bool) -> None:
    (tmp_path / "harvest").mkdir()
    store = Store(tmp_path / "harvest", hold_folders=held)
    with pytest.raises(StorageError, match="leads out"):
        await fill(store, remote(5, "x", content=b"abc"), b"abc", path)
    assert not (tmp_path / "x").exists()
    (tmp_path / "x").touch()
    assert not await store.is_intact(path, 0, None)


@pytest.mark.skipif(not HOLDS_FOLDERS, reason="paths can only be looked at before and after")
async def test_a_link_planted_for_a_moment_has_no_effect(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "harvest/files/1"
    outside.mkdir()
    folder.parent.mkdir(parents=True)
    away = (tmp_path / "harvest" / f"away {number}" for number in count())

    def swap() -> None:
        with suppress(OSError):
            folder.rename(next(away))
        with suppress(OSError):
            folder.symlink_to(outside)
        with suppress(OSError):
            folder.unlink()

    store, whole = Store(tmp_path / "harvest", sync=lambda _: None), 0
    with repeated(swap):
        for number in range(80):
            with suppress(StorageError):
                await fill(store, remote(number, "x", content=b"abc"), b"abc", "files/1/a/x")
                whole += 1
    assert list(outside.iterdir()) == []
    assert whole > 0


@contextmanager
def repeated(action: Callable[[], None]) -> Iterator[None]:
    """Do something over and over in a thread of its own."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.is_set():
            action()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


Plant = Callable[[Path, Path], None]


@pytest.mark.parametrize("plant", PLANTED)
async def test_a_foreign_file_in_place_of_a_partial_file_is_replaced(
    plant: Plant, tmp_path: Path, held: bool
) -> None:
    outside, harvest = tmp_path / "outside", tmp_path / "harvest"
    outside.write_bytes(b"precious")
    (harvest / ".partial").mkdir(parents=True)
    file = remote(5, "x", content=b"new bytes")
    plant(partial_of(harvest, file), outside)
    with anyio.fail_after(20):
        await fill(Store(harvest, hold_folders=held), file, b"new bytes", "files/1/x")
    assert outside.read_bytes() == b"precious"
    assert (harvest / "files/1/x").read_bytes() == b"new bytes"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["harvest", "outside"]


def taking_turns(name: Path, *plants: Callable[[str], None]) -> Callable[[], None]:
    """Give a name to one thing after the other, so that it is always there."""
    spare = str(name.with_name("spare"))

    def swap() -> None:
        for plant in plants:
            plant(spare)
            os.replace(spare, name)  # noqa: PTH105  # as fast as it gets
            with suppress(OSError):  # it stays where both were names of the same
                os.unlink(spare)  # noqa: PTH108

    return swap


def test_bytes_outside_survive_a_race_for_the_partial_files_place(tmp_path: Path) -> None:
    outside, part = str(tmp_path / "outside"), tmp_path / "part"
    Path(outside).write_bytes(b"precious")
    ours, link, second = (
        lambda spare: os.close(os.open(spare, os.O_CREAT)),
        functools.partial(os.symlink, outside),
        functools.partial(os.link, outside),
    )
    resumed = refused = 0
    began = time.monotonic()
    with repeated(taking_turns(part, ours, link, ours, second)), Directory.enter(tmp_path) as folder:
        while refused < 10 and time.monotonic() < began + 5:
            try:
                descriptor = folder.resume("part")
            except OSError as error:
                # A link came between the look and the opening; a second name does so as often.
                refused += error.errno == errno.ELOOP
            else:
                os.write(descriptor, b"new bytes")
                os.close(descriptor)
                resumed += 1
    assert Path(outside).read_bytes() == b"precious"
    assert resumed > 0


@pytest.mark.skipif(not HOLDS_FOLDERS, reason="paths can only be looked at before and after")
def test_no_race_makes_a_file_outside_count_as_here(tmp_path: Path) -> None:
    outside, torn = str(tmp_path / "outside"), str(tmp_path / "torn")
    Path(outside).write_bytes(b"whole")
    Path(torn).write_bytes(b"torn!")
    swap = taking_turns(
        tmp_path / "x", functools.partial(os.link, torn), functools.partial(os.symlink, outside)
    )
    store, md5 = Store(tmp_path), hashlib.md5(b"whole").hexdigest()
    with repeated(swap):
        assert not any(is_whole(store._tree, "x", 5, md5) for _ in range(2500))


@pytest.mark.parametrize("plant", PLANTED)
async def test_a_foreign_file_in_place_of_a_file_is_replaced(
    plant: Plant, tmp_path: Path, held: bool
) -> None:
    outside, path = tmp_path / "outside", tmp_path / "harvest/files/1/x"
    outside.write_bytes(b"precious")
    path.parent.mkdir(parents=True)
    plant(path, outside)
    store = Store(tmp_path / "harvest", hold_folders=held)
    await fill(store, remote(5, "x", content=b"new bytes"), b"new bytes", "files/1/x")
    assert outside.read_bytes() == b"precious"
    assert path.read_bytes() == b"new bytes"
    assert not path.is_symlink()


async def test_a_file_behind_a_link_counts_as_missing(tmp_path: Path, held: bool) -> None:
    outside, files = tmp_path / "outside", tmp_path / "harvest/files"
    outside.mkdir()
    files.mkdir(parents=True)
    (outside / "x").write_bytes(b"abc")
    (files / "1").symlink_to(outside)
    (files / "2").mkdir()
    (files / "2/x").symlink_to(outside / "x")
    (files / "2/y").hardlink_to(outside / "x")  # a copy made of hard links is a whole harvest
    store, md5 = Store(tmp_path / "harvest", hold_folders=held), hashlib.md5(b"abc").hexdigest()
    assert not await store.is_intact("files/1/x", 3, md5)
    assert not await store.is_intact("files/2/x", 3, md5)
    assert await store.is_intact("files/2/y", 3, md5)


async def test_a_pipe_in_place_of_a_file_does_not_block(tmp_path: Path, held: bool) -> None:
    os.mkfifo(tmp_path / "x")
    with anyio.fail_after(20):
        assert not await Store(tmp_path, hold_folders=held).is_intact("x", 0, hashlib.md5().hexdigest())


@pytest.mark.parametrize("plant", PLANTED)
@pytest.mark.parametrize("name", [".table.csv.new", "table.csv"])
def test_an_atomic_write_replaces_a_planted_file(name: str, plant: Plant, tmp_path: Path) -> None:
    outside, harvest = tmp_path / "outside", tmp_path / "harvest"
    outside.write_bytes(b"precious")
    harvest.mkdir()
    plant(harvest / name, outside)
    with atomic_write(harvest / "table.csv") as handle:
        handle.write(b"new bytes")
    assert outside.read_bytes() == b"precious"
    assert (harvest / "table.csv").read_bytes() == b"new bytes"
    assert not (harvest / "table.csv").is_symlink()
    assert [entry.name for entry in harvest.iterdir()] == ["table.csv"]


# -- power cuts -----------------------------------------------------------------------------------


class Syncs:
    """Syncs for real, and notes what was synced and what could be seen at that moment."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.seen: list[tuple[str, list[str]]] = []
        self.sizes: dict[str, int] = {}

    def __call__(self, descriptor: int) -> None:
        os.fsync(descriptor)
        synced = os.fstat(descriptor)
        everything = [self._root, *sorted(self._root.rglob("*"))]
        (name,) = [path for path in everything if os.path.samestat(path.lstat(), synced)]
        published = [path.relative_to(self._root).as_posix() for path in everything if is_published(path)]
        self.seen.append((unheld(name.relative_to(self._root).as_posix()), published))
        self.sizes[self.seen[-1][0]] = synced.st_size

    def take(self) -> list[tuple[str, list[str]]]:
        taken, self.seen = self.seen, []
        return taken


def is_published(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and path.suffix != ".part"


@pytest.mark.skipif(not HOLDS_FOLDERS, reason="folders cannot be synced")
async def test_a_published_file_and_all_names_above_it_are_synced(tmp_path: Path) -> None:
    syncs = Syncs(tmp_path)
    store = Store(tmp_path, sync=syncs)
    x, y = remote(5, "x", content=b"abc"), remote(6, "y", content=b"def")
    await fill(store, x, b"abc", "files/1/a/x")
    part = partial_of(Path(), x).as_posix()
    assert syncs.take() == [
        (part, []),  # the bytes, before anything has the name
        (".", ["files/1/a/x"]),  # that there is files/
        ("files", ["files/1/a/x"]),
        ("files/1", ["files/1/a/x"]),
        ("files/1/a", ["files/1/a/x"]),  # that the file is there
    ]
    assert syncs.sizes[part] == len(b"abc")
    await fill(store, y, b"def", "files/1/a/y")
    part = partial_of(Path(), y).as_posix()
    both = ["files/1/a/x", "files/1/a/y"]
    assert syncs.take() == [(part, both[:1]), ("files/1/a", both)]


@pytest.mark.skipif(not HOLDS_FOLDERS, reason="folders cannot be synced")
async def test_a_folder_that_a_killed_run_made_is_not_taken_for_synced(tmp_path: Path) -> None:
    (tmp_path / "files/1").mkdir(parents=True)
    syncs = Syncs(tmp_path)
    store = Store(tmp_path, sync=syncs)
    await fill(store, remote(5, "x", content=b"abc"), b"abc", "files/1/x")
    assert [name for name, _ in syncs.take()[1:]] == [".", "files", "files/1"]
    shutil.rmtree(tmp_path / "files/1")  # one that was removed is made again, and synced again
    await fill(store, remote(5, "x", content=b"abc"), b"abc", "files/1/x")
    assert [name for name, _ in syncs.take()[1:]] == ["files", "files/1"]


@pytest.mark.skipif(not HOLDS_FOLDERS, reason="folders cannot be synced")
def test_a_rewritten_file_was_synced_and_so_was_its_name(tmp_path: Path) -> None:
    syncs = Syncs(tmp_path)
    with atomic_write(tmp_path / "table.csv", sync=syncs) as handle:
        handle.write(b"new bytes")
    assert syncs.seen == [(".table.csv.new", []), (".", ["table.csv"])]
    assert syncs.sizes[".table.csv.new"] == len(b"new bytes")


@pytest.mark.skipif(not HOLDS_FOLDERS, reason="folders cannot be synced")
async def test_a_file_renamed_by_a_killed_run_is_synced_before_it_is_done(
    tmp_path: Path,
) -> None:
    (tmp_path / "files/1/a").mkdir(parents=True)
    for name in ("x", "y"):
        (tmp_path / "files/1/a" / name).write_bytes(b"abc")
    syncs = Syncs(tmp_path)
    store = Store(tmp_path, sync=syncs)
    task = Files(None, store)  # type: ignore[arg-type]  # nothing is to be asked
    for file_id, name in ((5, "x"), (6, "y")):
        file = remote(file_id, name, content=b"abc")
        pending = PendingFile(
            file_id, ItemId(1), file, f"files/1/a/{name}", private=False, item_key=ItemKey(1)
        )
        assert (await task.fetch(pending)).status is FileStatus.DONE
        synced = [where for where, _ in syncs.take()]
        assert synced[:2] == [f"files/1/a/{name}", "files/1/a"]
        assert synced[2:] == ([".", "files", "files/1"] if name == "x" else [])


def no_second_names(*_: object) -> None:
    """A file system on which a file has one name."""
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.mark.parametrize("has_links", [True, False])
async def test_the_same_bytes_get_a_second_name_or_are_copied(has_links: bool, tmp_path: Path) -> None:
    (tmp_path / "files/1").mkdir(parents=True)
    (tmp_path / "files/1/a").write_bytes(b"abc")
    store = Store(tmp_path) if has_links else Store(tmp_path, link=no_second_names)
    hashlib.md5(b"abc").hexdigest()
    assert await store.duplicate("files/1/a", "files/1.v1/deep/a")
    there = tmp_path / "files/1.v1/deep/a"
    assert there.read_bytes() == b"abc"
    assert there.samefile(tmp_path / "files/1/a") is has_links
    assert [path.name for path in (tmp_path / ".partial").glob("*")] == []
    assert not await store.duplicate("files/1/b", "files/2/b"), "it is not there"
    assert not (tmp_path / "files/2").exists()


async def test_a_copy_takes_the_longest_of_names(tmp_path: Path) -> None:
    (tmp_path / "files/1").mkdir(parents=True)
    name = "ü" * 90 + ".csv"
    (tmp_path / "files/1" / name).write_bytes(b"abc")
    hashlib.md5(b"abc").hexdigest()
    path = f"files/1.v1/{'ö' * 90}/{name}"
    assert await Store(tmp_path, link=no_second_names).duplicate(f"files/1/{name}", path)
    assert (tmp_path / path).read_bytes() == b"abc"


async def test_unfinished_copies_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".partial").mkdir()
    (tmp_path / ".partial/0123.copy").write_bytes(b"ab")
    (tmp_path / ".partial/notes").write_bytes(b"not ours")

    async def is_of_use(*_: object) -> bool:
        raise AssertionError("no partial file is there")

    await delete_orphans(Store(tmp_path), is_of_use)
    assert [path.name for path in (tmp_path / ".partial").iterdir()] == ["notes"]


@pytest.mark.skipif(not HOLDS_FOLDERS, reason="folders cannot be synced")
async def test_an_existing_file_that_cannot_be_synced_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    store = Store(tmp_path, sync=failing_for_folders(errno.EIO))
    assert await store.is_intact("x", 3, None)
    with pytest.raises(StorageError, match="x: Input/output error; check the disk"):
        await store.duplicate("x", "x")


def failing_for_files(descriptor: int) -> None:
    """A disk that does not take what is in a file."""
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    os.fsync(descriptor)


@pytest.mark.parametrize("others", [0, 2])
async def test_a_file_that_could_not_be_synced_is_restarted(others: int, tmp_path: Path) -> None:
    """What was written may be in memory only, and look whole to the run that resumes it."""
    file = remote(5, "x", content=b"abc")
    refused = 0

    async def bring(file: RemoteFile, store: Store) -> None:
        nonlocal refused
        try:
            await fill(store, file, b"abc", f"files/1/{file.id}")
        except StorageError:
            refused += 1

    sick = Store(tmp_path, sync=failing_for_files)
    async with anyio.create_task_group() as group:
        for number in range(others + 1):
            group.start_soon(bring, remote(5 + number, "x", content=b"abc"), sick)
    assert refused == others + 1
    again = await opened(Store(tmp_path), 1, file)
    assert again.received == 0
    await again.write(b"abc")
    await again.commit("files/1/5")
    await again.abort()
    assert (tmp_path / "files/1/5").read_bytes() == b"abc"


async def test_a_file_with_an_unsynced_segment_is_restarted(tmp_path: Path) -> None:
    content = os.urandom(1000)
    file = remote(5, "x", content=content)
    partial = await opened(Store(tmp_path, sync=failing_for_files), 1, file)
    await partial.write(content[:300])
    piece = partial.segments().divide(600)
    assert piece is not None
    await piece.write(content[600:])
    await piece.release()
    await partial.write(content[300:600])
    with pytest.raises(StorageError, match="Input/output error"):
        await partial.segments().absorb()
    await partial.abort()
    again = await opened(Store(tmp_path), 1, file)
    assert (again.received, len(again.segments())) == (0, 0)
    await again.abort()


@pytest.mark.skipif(not HOLDS_FOLDERS, reason="folders cannot be synced")
async def test_a_file_whose_folder_could_not_be_synced_is_kept_by_the_next_run(tmp_path: Path) -> None:
    file = remote(5, "x", content=b"abc")
    with pytest.raises(StorageError):
        await fill(Store(tmp_path, sync=failing_for_folders(errno.EIO)), file, b"abc", "files/1/x")
    syncs = Syncs(tmp_path)
    assert await Store(tmp_path, sync=syncs).duplicate("files/1/x", "files/1/x")
    assert [where for where, _ in syncs.take()] == ["files/1/x", "files/1", ".", "files"]


def failing_for_folders(number: int) -> Callable[[int], None]:
    """A disk that syncs files and answers for folders with an error."""

    def sync(descriptor: int) -> None:
        with suppress(IsADirectoryError):
            os.pread(descriptor, 1, 0)
            return
        raise OSError(number, os.strerror(number))

    return sync


@pytest.mark.skipif(not HOLDS_FOLDERS, reason="folders cannot be synced")
async def test_a_file_system_without_folder_sync_is_accepted(tmp_path: Path) -> None:
    store = Store(tmp_path, sync=failing_for_folders(errno.EINVAL))
    await fill(store, remote(5, "x", content=b"abc"), b"abc", "files/1/x")
    assert (tmp_path / "files/1/x").read_bytes() == b"abc"


@pytest.mark.skipif(not HOLDS_FOLDERS, reason="folders cannot be synced")
async def test_a_folder_that_cannot_be_synced_is_an_error(tmp_path: Path) -> None:
    store = Store(tmp_path, sync=failing_for_folders(errno.EIO))
    with pytest.raises(StorageError, match="Input/output error; check the disk and run again"):
        await fill(store, remote(5, "x", content=b"abc"), b"abc", "files/1/x")


def test_an_unsupported_sync_hint_is_ignored() -> None:
    """A pipe stands for the file systems that take no advice."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb", buffering=0) as handle:
        if hasattr(os, "posix_fadvise"):
            with pytest.raises(OSError, match="seek"):
                os.posix_fadvise(writing, 0, 0, os.POSIX_FADV_DONTNEED)
        begin_to_sync(handle)
        handle.write(b"goes on")
    with os.fdopen(reading, "rb") as handle:
        assert handle.read() == b"goes on"


# -- several at once ------------------------------------------------------------------------------


def slowly(descriptor: int) -> None:
    """A disk that takes its time, so that files gather."""
    time.sleep(0.03)
    os.fsync(descriptor)


async def test_an_error_of_one_file_in_a_batch_affects_only_that_file(tmp_path: Path) -> None:
    syncs: list[int] = []

    def sync(descriptor: int) -> None:
        syncs.append(descriptor)
        slowly(descriptor)

    store = Store(tmp_path, sync=sync)
    (tmp_path / "files").mkdir()
    (tmp_path / "files/2").symlink_to(tmp_path, target_is_directory=True)
    wrong: dict[str, str] = {}

    async def bring(file_id: int, content: bytes, path: str) -> None:
        file = remote(file_id, "x", content=content)
        try:
            await fill(store, file, b"wrong" if "damaged" in path else content, path)
        except (StorageError, CorruptBody) as error:
            wrong[path] = type(error).__name__

    async with anyio.create_task_group() as group:
        for number in range(12):
            group.start_soon(bring, number, os.urandom(50 * number), f"files/1/{number}")
        group.start_soon(bring, 20, b"right", "files/1/damaged")
        group.start_soon(bring, 21, b"right", "files/2/behind a link")
    assert wrong == {"files/1/damaged": "CorruptBody", "files/2/behind a link": "StorageError"}
    assert sorted(path.name for path in (tmp_path / "files/1").iterdir()) == sorted(map(str, range(12)))
    assert len(syncs) < 12 + 12  # each file, and far fewer folders than files


async def test_a_cancelled_commit_waits_for_its_batch(tmp_path: Path) -> None:
    store = Store(tmp_path, sync=slowly)
    for number in range(5):
        content = os.urandom(100)
        with anyio.move_on_after(0.01 * number):
            await fill(store, remote(number, "x", content=content), content, f"files/1/{number}")
        path = tmp_path / f"files/1/{number}"
        left = list((tmp_path / ".partial").iterdir()) if (tmp_path / ".partial").exists() else []
        assert not (path.exists() and left)
        assert not path.exists() or path.read_bytes() == content


async def test_an_unexpected_error_publishes_nothing(tmp_path: Path) -> None:
    class Unforeseen(Exception):
        pass

    def sync(descriptor: int) -> None:
        time.sleep(0.03)
        raise Unforeseen

    store = Store(tmp_path, sync=sync)
    errors: list[BaseException] = []

    async def bring(number: int) -> None:
        try:
            await fill(store, remote(number, "x", content=b"abc"), b"abc", f"files/1/{number}")
        except (Unforeseen, StorageError) as error:
            errors.append(error)

    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(bring, number)
    assert len(errors) == 4
    assert not (tmp_path / "files").exists()


async def test_one_at_a_time_holds_a_key() -> None:
    locks = KeyedLocks()
    seen: list[tuple[int, str]] = []

    async def work(number: int) -> None:
        async with locks.hold(1, 5):
            seen.append((number, "started"))
            await anyio.sleep(0.02)
            seen.append((number, "done"))

    async with anyio.create_task_group() as group, locks.hold(1, 6):
        group.start_soon(work, 1)
        await anyio.lowlevel.checkpoint()
        group.start_soon(work, 2)
    assert seen == [(1, "started"), (1, "done"), (2, "started"), (2, "done")]
    assert len(locks) == 0


# -- trouble --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "make room"),
        (errno.EROFS, "make the disk writable"),
        (errno.EACCES, "give this user the right to read and write there"),
        (errno.ENOENT, "put it back (is its disk mounted?)"),
        (errno.EIO, "check the disk"),
        (errno.ELOOP, "check the output folder"),
    ],
)
def test_a_storage_error_has_path_cause_and_advice(number: int, advice: str) -> None:
    with pytest.raises(StorageError) as caught, map_disk_errors("harvest"):
        raise OSError(number, os.strerror(number))
    assert str(caught.value) == f"harvest: {os.strerror(number)}; {advice} and run again"


async def test_a_vanished_output_folder_is_not_created_again(tmp_path: Path, held: bool) -> None:
    folder, file = tmp_path / "harvest", remote(5, "x", content=b"abc")
    folder.mkdir()
    store = Store(folder, hold_folders=held)
    partial = await opened(store, 1, file)
    await partial.write(b"abc")
    shutil.rmtree(folder)
    gone = f"{folder}: No such file or directory; put it back (is its disk mounted?) and run again"
    for ask in (partial.commit("files/1/x"), fill(store, file, b"abc", "files/1/x")):
        with pytest.raises(StorageError) as caught:
            await ask
        assert str(caught.value) == gone
    await partial.abort()
    with pytest.raises(StorageError) as caught, store.space.reserve(lambda: 1):
        pytest.fail("there is no disk")
    assert str(caught.value) == gone
    with pytest.raises(StorageError) as caught, atomic_write(folder / "table.csv"):
        pytest.fail("there is no folder")
    assert str(caught.value) == gone
    assert not await store.is_intact("files/1/x", 3, None)
    assert not folder.exists()


async def test_a_removed_partial_file_is_named(tmp_path: Path, held: bool) -> None:
    file = remote(5, "x", content=b"abc")
    partial = await opened(Store(tmp_path, hold_folders=held), 1, file)
    await partial.write(b"abc")
    await partial.flush()
    try:
        held_partial_of(tmp_path, file).unlink()
        with pytest.raises(StorageError) as caught:
            await partial.commit("files/1/x")
    finally:
        await partial.abort()
    message = "was removed while it was written; see what else works here and run again"
    assert unheld(str(caught.value)) == f"{partial_of(tmp_path, file)}: {message}"
    assert not (tmp_path / "files/1/x").exists()


@pytest.mark.parametrize("path", ["files", "files/1"])
async def test_a_file_in_place_of_a_folder_is_named(path: str, tmp_path: Path, held: bool) -> None:
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_bytes(b"in the way")
    with pytest.raises(StorageError) as caught:
        await fill(Store(tmp_path, hold_folders=held), remote(5, "x"), b"", "files/1/x")
    message = "Not a directory; move away what is in the place of a folder and run again"
    assert str(caught.value) == f"{tmp_path / path}: {message}"
    assert (tmp_path / path).read_bytes() == b"in the way"


async def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path, held: bool) -> None:
    (tmp_path / "files/1/x").mkdir(parents=True)
    with pytest.raises(StorageError) as caught:
        await fill(Store(tmp_path, hold_folders=held), remote(5, "x"), b"", "files/1/x")
    message = "Is a directory; move away the folder in the place of a file and run again"
    assert str(caught.value) == f"{tmp_path / 'files/1/x'}: {message}"


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Take the right to write there; root would keep it, so it becomes another user meanwhile."""
    is_root = os.geteuid() == 0
    folder.chmod(0o555)
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o755)


async def test_a_folder_that_may_not_be_written_to_is_named() -> None:
    message = "Permission denied; give this user the right to read and write there and run again"
    with TemporaryDirectory() as name:  # another user cannot enter pytest's folders
        folder, file = Path(name), remote(5, "x", content=b"abc")
        store = Store(folder)
        assert not await store.is_intact("x", 1, None)  # all is imported and started while there are rights
        with read_only(folder):
            with pytest.raises(StorageError) as caught:
                await fill(store, file, b"abc", "files/1/x")
            assert str(caught.value) == f"{folder / '.partial'}: {message}"
            with pytest.raises(StorageError) as caught, atomic_write(folder / "table.csv"):
                pytest.fail("it must not be written")
            assert str(caught.value) == f"{folder / 'table.csv'}: {message}"


async def test_an_unreadable_file_is_an_error_and_not_missing() -> None:
    with TemporaryDirectory() as name:  # another user cannot enter pytest's folders
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "locked").mkdir()
        for path in ("x", "locked/x"):
            (folder / path).write_bytes(b"abc")
        store, md5 = Store(folder), hashlib.md5(b"abc").hexdigest()
        assert await store.is_intact("locked/x", 3, md5)  # all is imported and started while there are rights
        (folder / "x").chmod(0)
        (folder / "locked").chmod(0)
        with read_only(folder):
            for path in ("x", "locked/x"):
                with pytest.raises(StorageError, match="Permission denied; give this user the right"):
                    await store.is_intact(path, 3, md5)
            assert not await store.is_intact("y", 3, md5)
            assert not await store.is_intact("x/y", 3, md5)
            assert not await store.is_intact("x", 4, md5), "which can be seen from outside"
        (folder / "locked").chmod(0o700)


async def test_without_free_file_descriptors_no_file_counts_as_missing(tmp_path: Path, held: bool) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    store, md5 = Store(tmp_path, hold_folders=held), hashlib.md5(b"abc").hexdigest()
    assert await store.is_intact("x", 3, md5)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(StorageError, match="Too many open files; allow more open files"):
            await store.is_intact("x", 3, md5)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not let a test mount a disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


async def test_on_a_full_disk_written_bytes_are_kept_and_resumed(small_disk: Path) -> None:
    content = os.urandom(1_500_000)
    file = remote(5, "x", content=content)
    # The disk has room when the file is started, and others fill it.
    store, before = Store(small_disk, free_bytes=lambda _: len(content)), open_files()
    partial = await opened(store, 1, file)
    with anyio.fail_after(20):
        with pytest.raises(StorageError) as caught:
            for start in range(0, len(content), 10_000):
                await partial.write(content[start : start + 10_000])
        await partial.abort()
    assert unheld(str(caught.value)) == (
        f"{partial_of(small_disk, file)}: No space left on device; make room and run again"
    )
    assert open_files() == before
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    again = await opened(store, 1, file)
    assert 100_000 < again.received < len(content)
    await again.write(content[again.received :])
    await again.commit("files/1/x")
    await again.abort()
    assert (small_disk / "files/1/x").read_bytes() == content


async def test_a_table_that_finds_the_disk_full_leaves_the_old_one(small_disk: Path) -> None:
    path = small_disk / "table.csv"
    path.write_text("old")
    before = open_files()
    with pytest.raises(StorageError) as caught, atomic_write(path) as handle:
        for _ in range(100):
            handle.write(os.urandom(5_000))
    assert str(caught.value) == f"{path}: No space left on device; make room and run again"
    with pytest.raises(RuntimeError, match="first"), atomic_write(path) as handle:
        (small_disk / "filler").write_bytes(os.urandom(250_000))
        with suppress(OSError), (small_disk / "rest").open("wb", buffering=0) as rest:
            rest.write(os.urandom(10_000))
        handle.write(b"what is buffered")
        raise RuntimeError("first")
    assert open_files() == before
    assert path.read_text() == "old"
    assert not list(small_disk.glob(".*"))


async def test_a_disk_that_was_made_read_only_is_named(small_disk: Path) -> None:
    file = remote(5, "x", content=b"abc")
    store = Store(small_disk)
    await fill(store, file, b"abc", "files/1/x")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    message = "Read-only file system; make the disk writable and run again"
    with pytest.raises(StorageError) as caught:
        await fill(store, file, b"abc", "files/1/y")
    assert unheld(str(caught.value)) == f"{partial_of(small_disk, file)}: {message}"
    with pytest.raises(StorageError) as caught, atomic_write(small_disk / "table.csv"):
        pytest.fail("it cannot be written")
    assert str(caught.value) == f"{small_disk / 'table.csv'}: {message}"
    assert await store.is_intact("files/1/x", 3, file.md5)


async def test_an_error_on_close_does_not_hide_the_first_error(tmp_path: Path) -> None:
    content = os.urandom(500_000)
    store, before = Store(tmp_path), open_files()
    partial = await opened(store, 1, remote(5, "x", content=content))
    with no_file_larger_than(100_000), anyio.fail_after(20):
        with pytest.raises(ConnectionFailed, match="the connection was closed"):
            try:
                await partial.write(content[:400_000])  # less than a buffer: it is written when it is closed
                raise ConnectionFailed("the connection was closed")
            finally:
                await partial.abort()
    assert open_files() == before
    again = await opened(store, 1, remote(5, "x", content=content))
    assert again.received == 100_000
    await again.write(content[100_000:])
    await again.commit("files/1/x")
    await again.abort()
    assert (tmp_path / "files/1/x").read_bytes() == content


async def test_what_cannot_be_opened_leaves_nothing_open(tmp_path: Path, held: bool) -> None:
    store, before = Store(tmp_path, hold_folders=held), open_files()
    file = remote(5, "x", content=b"abc")
    partial_of(tmp_path, file).mkdir(parents=True)
    with pytest.raises(StorageError):
        await opened(store, 1, file)
    (tmp_path / "files").write_bytes(b"in the way")
    with pytest.raises(StorageError):
        await fill(store, remote(6, "y"), b"", "files/1/y")
    assert open_files() == before


async def test_files_opened_at_once_all_resume_their_partial_files(tmp_path: Path) -> None:
    files = [remote(number, "x", content=b"ab" * 500) for number in range(1, 2001)]
    (tmp_path / ".partial").mkdir()
    for file in files:
        partial_of(tmp_path, file).write_bytes(b"ab" * 250)
    store, found = Store(tmp_path), []

    async def open_partial(file: RemoteFile) -> None:
        partial = await opened(store, 1, file)
        found.append(partial.received)
        await partial.abort()

    async with anyio.create_task_group() as group:
        for file in files[:8]:
            group.start_soon(open_partial, file)
    assert found == [500] * 8
