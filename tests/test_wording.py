"""The words of messages: suggestions, quotes and plurals."""

from __future__ import annotations

from harvester.text.wording import HIDDEN, counted, may_be_secret, quoted, suggest, unknown, without_tokens
from tests.support.each import for_each


def test_one_thing_has_the_singular() -> None:
    assert [counted(number, "item") for number in (0, 1, 2)] == ["0 items", "1 item", "2 items"]
    assert [counted(number, "entry", "entries") for number in (1, 2)] == ["1 entry", "2 entries"]


@for_each(
    ("word", "known", "hint"),
    [
        ("view", ("views", "downloads"), ' (did you mean "views"?)'),
        ("VIEWS ", ("views", "downloads"), ' (did you mean "views"?)'),
        ("cc by", ("CC BY 4.0", "MIT"), ' (did you mean "CC BY 4.0"?)'),
        ("week", ("day", "month", "year"), ""),
        ("CC-BY", ("CC BY-NC 4.0", "CC BY 4.0", "CC0"), ' (did you mean "CC BY 4.0"?)'),
        ("CC-BY-4.0", ("CC BY-NC 4.0", "CC BY 4.0"), ' (did you mean "CC BY 4.0"?)'),
        ("cvs", ("jsonl", "csv"), ' (did you mean "csv"?)'),
        ("csh", ("bash", "zsh", "fish"), ""),
        ("x", (), ""),
    ],
)
def test_a_similar_word_is_suggested_as_it_is_spelled(word: str, known: tuple[str, ...], hint: str) -> None:
    assert suggest(word, known) == hint
    assert unknown(word, known).endswith(f"{hint}; known: {', '.join(known)}")


@for_each(
    "text",
    [
        "8f3b3ad1caaa83fd89f38f3b3ad1caaa83fd89f3",
        "8f3b3ad1caaa83fd",
        "sk-live-0123456789abcdef",
        "ghp_16C7e42F292c6912E7",
        "token 8f3b3ad1caaa83fd89f3",
        "https://example.org/?key=8f3b3ad1caaa83fd89f3",
    ],
)
def test_what_may_be_a_token_is_not_repeated(text: str) -> None:
    assert may_be_secret(text)
    assert quoted(text) == "a text that is not shown, as it may be a token"


@for_each(
    "text",
    [
        "metadata",
        "31.01.2024",
        "11962,11963",
        "10.6084/m9.figshare.c.4000001",
        "127.0.0.1:8700/v2",
        "99999999999999999999",
        "educational resource",
        "journal contribution",
        "my-folder-of-2024",
        "CC BY-NC-SA 4.0",
    ],
)
def test_what_people_type_is_repeated(text: str) -> None:
    assert quoted(text) == f'"{text}"'


def test_a_quote_is_one_short_line() -> None:
    assert quoted("a\x1b[31m\nb") == '"a [31m b"'
    assert quoted("x" * 100) == f'"{"x" * 59}…"'


@for_each(
    ("text", "shown"),
    [
        ("8f3b3ad1caaa83fd89f38f3b3ad1caaa83fd89f3", HIDDEN),
        ("search :title: 8F3b3ad1caaa83fd89f38f3b3ad1caaa83fd89f3 x", f"search :title: {HIDDEN} x"),
        ("ghp_16C7e42F292c6912E7ghp16C7e42F292c6912E7", HIDDEN),
        ("10.6084/m9.figshare.c.4000001", ""),
        ("covid-19-vaccination-uptake-in-the-north-of-england", ""),
        ("Donaudampfschifffahrtselektrizitaetenhauptbetriebswerk", ""),
        ("99999999999999999999999999999999999999", ""),
        ("f47ac10b-58cc-4372-a567-0e02b2c3d479", ""),
    ],
)
def test_only_a_token_is_hidden_in_a_name(text: str, shown: str) -> None:
    assert without_tokens(text) == (shown or text)
