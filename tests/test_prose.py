"""The pages that people read are plain English: short sentences, no phrase that has to be read twice."""

from __future__ import annotations

from pathlib import Path

from tests.support.each import for_each
from tools import prose


@for_each("page", prose.pages())
def test_a_page_is_plain_english(page: Path) -> None:
    faults = prose.check(page)
    assert not faults, "\n".join(map(str, faults))


def test_a_long_sentence_and_a_long_mean_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# A heading\n\nOne {'word ' * 35}more. Two\nwords.\n", encoding="utf-8")
    assert [fault.what for fault in prose.check(page)] == ["a sentence of 37 words"]
    page.write_text(f"One {'word ' * 19}more.\n", encoding="utf-8")
    assert [fault.what for fault in prose.check(page)] == ["the mean length of a sentence"]


def test_code_tables_and_headings_are_no_sentences(tmp_path: Path) -> None:
    long = "word " * 40
    page = tmp_path / "page.md"
    page.write_text(
        f"# {long}\n\nSee `{long}`.\n\n```sh\n{long}\n```\n\n| {long} |\n| --- |\n", encoding="utf-8"
    )
    assert prose.check(page) == []
    assert prose.sentences(page.read_text(encoding="utf-8")) == ["See Code."]


def test_list_items_and_paragraphs_end_a_sentence() -> None:
    text = "Two things:\n\n- the first\n- the [second](page.md)\n  goes on. `code` ends it\n\nAnother."
    assert prose.sentences(text) == [
        "Two things:",
        "the first",
        "the second goes on.",
        "Code ends it",
        "Another.",
    ]


def test_a_phrase_is_found_across_a_line_break(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("What is in\nhand ends. `in hand` is code.\n", encoding="utf-8")
    assert [fault.what for fault in prose.check(page)] == ['"in hand"']


def test_the_comments_of_a_config_are_read_and_its_keys_are_not() -> None:
    text = '# A comment\n# of two lines.\nkey = "value"      # Behind a key.\n# other = 1\n'
    assert prose.sentences(text, is_toml=True) == ["A comment of two lines.", "Behind a key."]
