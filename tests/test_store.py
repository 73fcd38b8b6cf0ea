"""Paths that stay where they belong, and files that are whole or not there."""

from __future__ import annotations

import errno
import hashlib
import os
import unicodedata
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harvester.errors import Damaged, DiskTrouble
from harvester.models import RemoteFile
from harvester.store import Store, disk_errors, place, rewrite, safe_name

pytestmark = pytest.mark.anyio


def remote(file_id: int, name: str, folder: str = "", content: bytes = b"", md5: bool = True) -> RemoteFile:
    digest = hashlib.md5(content).hexdigest() if md5 else None
    return RemoteFile(file_id, name, folder, len(content), digest, "", is_link=False)


NAMES = st.text(max_size=300) | st.text("./\\:~ aA\u00c5A\u030aﬁ<>|con\0\u202e", max_size=20)
WINDOWS_DEVICES = {"con", "prn", "aux", "nul", "com1", "lpt9", "com¹"}


@given(NAMES)
@example("../../etc/passwd")
@example("..")
@example("CON.txt")
@example("a" * 300 + ".csv")
@example("ü" * 300)
@example("x.")
@example(" ")
@example("\x1b[31mred")
@example("name.tar.gz")
@example("com1 .txt")
def test_any_name_becomes_one_that_every_system_takes(name: str) -> None:
    safe = safe_name(name)
    assert safe == unicodedata.normalize("NFC", safe)
    assert safe not in {"", ".", ".."}
    assert not set(safe) & set('<>:"/\\|?*')
    assert all(unicodedata.category(char) not in {"Cc", "Cs"} for char in safe)
    assert not safe.endswith((".", " "))
    assert not safe.startswith(" ")
    assert len(safe.encode()) <= 230
    assert PureWindowsPath(safe).stem.split(".")[0].rstrip(" ").lower() not in WINDOWS_DEVICES
    assert safe_name(safe) == safe


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("data.csv", "data.csv"),
        ("Ünïcode näme (1).tar.gz", "Ünïcode näme (1).tar.gz"),
        ("../../etc/passwd", ".._.._etc_passwd"),
        ("con.txt", "_con.txt"),
        (".htaccess", ".htaccess"),
        ("a:b?.csv", "a_b_.csv"),
        ("trailing. .", "trailing"),
        ("..", "_"),
        ("", "_"),
    ],
)
def test_names_a_person_would_recognise(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_in_a_clash_all_files_get_their_id() -> None:
    files = [
        remote(1, "data.csv"),
        remote(2, "DATA.csv"),
        remote(3, "other.csv"),
        remote(4, "da\u0301.csv"),
        remote(5, "dá.csv"),
    ]
    assert place(9, files, {}) == {
        1: "files/9/data~1.csv",
        2: "files/9/DATA~2.csv",
        3: "files/9/other.csv",
        4: "files/9/dá~4.csv",
        5: "files/9/dá~5.csv",
    }


def test_one_that_was_published_keeps_its_path() -> None:
    files = [remote(1, "data.csv"), remote(2, "data.csv")]
    assert place(9, files, {1: "files/9/data.csv"}) == {1: "files/9/data.csv", 2: "files/9/data~2.csv"}


def test_a_folder_where_a_file_was_published_earlier_is_left_out() -> None:
    files = [remote(1, "a"), remote(2, "x", "a"), remote(3, "x", "a/b")]
    assert place(9, files, {1: "files/9/a"}) == {1: "files/9/a", 2: "files/9/x~2", 3: "files/9/x~3"}


def test_a_folder_that_is_too_deep_is_left_out() -> None:
    assert place(9, [remote(1, "x.csv", "/".join(["deep"] * 1000))], {}) == {1: "files/9/x.csv"}


def test_folders_are_kept_and_cannot_lead_out() -> None:
    files = [
        remote(1, "x", "a/b"),
        remote(2, "x", "../../up"),
        remote(3, "x", "/abs\\win"),
        remote(4, "a", ""),
    ]
    assert place(9, files, {}) == {
        1: "files/9/a/b/x",
        2: "files/9/up/x",
        3: "files/9/abs/win/x",
        4: "files/9/a~4",  # a folder of that name is there
    }


@given(st.lists(st.tuples(NAMES, NAMES), max_size=12), st.data())
def test_no_two_files_share_a_path_and_none_leaves_its_folder(
    names: list[tuple[str, str]], data: st.DataObject
) -> None:
    files = [remote(number, name, folder) for number, (folder, name) in enumerate(names, start=100)]
    first = place(7, files, {})
    kept_ids = data.draw(st.sets(st.sampled_from([file.id for file in files]))) if files else set()
    for placed in (first, place(7, files, {file_id: first[file_id] for file_id in kept_ids})):
        folded = {unicodedata.normalize("NFC", path.casefold()) for path in placed.values()}
        assert len(folded) == len(files)
        for path in placed.values():
            assert path.startswith("files/7/")
            assert ".." not in path.split("/")


async def fill(store: Store, file: RemoteFile, content: bytes, path: str) -> None:
    partial = await store.partial(1, file)
    try:
        for start in range(0, len(content), 7):
            await partial.write(content[start : start + 7])
        await partial.publish(path)
    finally:
        await partial.close()


async def test_a_proven_file_is_at_its_place_and_nothing_else_is_left(tmp_path: Path) -> None:
    store, content = Store(tmp_path), os.urandom(100_000)
    await fill(store, remote(5, "x", content=content), content, "files/1/a/x")
    assert (tmp_path / "files/1/a/x").read_bytes() == content
    assert list((tmp_path / ".partial").iterdir()) == []
    assert await store.holds("files/1/a/x", len(content), hashlib.md5(content).hexdigest())
    assert not await store.holds("files/1/a/x", len(content), "0" * 32)
    assert not await store.holds("files/1/a/y", len(content), None)


@pytest.mark.parametrize("wrong", [b"wrong bytes!", b"short", b"far too long for it"])
async def test_wrong_bytes_are_never_published_and_deleted(tmp_path: Path, wrong: bytes) -> None:
    store = Store(tmp_path)
    with pytest.raises(Damaged) as caught:
        await fill(store, remote(5, "x", content=b"right bytes!"), wrong, "files/1/x")
    assert caught.value.md5 == hashlib.md5(wrong).hexdigest()
    assert not (tmp_path / "files").exists()
    assert list((tmp_path / ".partial").iterdir()) == []


async def test_a_partial_file_is_resumed_by_another_run(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    file = remote(5, "x", content=content)
    first = await Store(tmp_path).partial(1, file)
    await first.write(content[:2_000_000])
    await first.close()
    second = await Store(tmp_path).partial(1, file)
    assert second.received == 2_000_000
    await second.write(content[2_000_000:])
    await second.publish("files/1/x")
    await second.close()
    assert (tmp_path / "files/1/x").read_bytes() == content


async def test_without_an_md5_an_old_beginning_is_not_trusted(tmp_path: Path) -> None:
    file = remote(5, "x", content=b"0123456789", md5=False)
    first = await Store(tmp_path).partial(1, file)
    await first.write(b"01234")
    await first.close()
    second = await Store(tmp_path).partial(1, file)
    assert second.received == 0
    await second.close()


async def test_a_file_is_not_begun_without_room_for_it(tmp_path: Path) -> None:
    store = Store(tmp_path, free_bytes=lambda _: 1000)
    with store.reserve(600):
        with (
            pytest.raises(DiskTrouble, match="600 bytes are needed and 400 are free; make room"),
            store.reserve(600),
        ):
            pytest.fail("there was no room")
        with store.reserve(400):
            pass
    with store.reserve(1000):
        pass


async def test_a_link_planted_in_the_folder_is_not_followed_out_of_it(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "harvest"
    outside.mkdir()
    (inside / "files").mkdir(parents=True)
    (inside / "files" / "1").symlink_to(outside)
    with pytest.raises(DiskTrouble, match="leads out"):
        await fill(Store(inside), remote(5, "x", content=b"abc"), b"abc", "files/1/x")
    assert list(outside.iterdir()) == []


async def test_a_link_in_the_place_of_a_partial_file_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    file = remote(5, "x", content=b"abc")
    (tmp_path / ".partial").mkdir()
    (tmp_path / ".partial" / f"1-5-{file.md5}.part").symlink_to(target)
    with pytest.raises(DiskTrouble):
        await Store(tmp_path).partial(1, file)
    assert target.read_bytes() == b"precious"


def test_a_rewrite_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError), rewrite(path) as handle:
        handle.write(b"half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]


def test_what_a_full_disk_says() -> None:
    with (
        pytest.raises(DiskTrouble, match="harvest: No space left on device; make room and run again"),
        disk_errors("harvest"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
