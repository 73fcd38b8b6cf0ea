"""The picture in README is the screen of a run, and shows it without anything from elsewhere."""

from __future__ import annotations

import re
from html import unescape

import pyte

from tools.screenshot import COMMAND, PICTURE, draw, text_of


def words(picture: str) -> str:
    """All texts of a picture, with plain blanks."""
    return unescape(" ".join(re.findall(r"<text[^>]*>([^<]*)</text>", picture))).replace("\xa0", " ")


def test_the_picture_shows_the_text_of_a_screen_in_its_colours() -> None:
    screen = pyte.Screen(40, 3)
    pyte.Stream(screen).feed("plain \x1b[1;32mgreen & bold\x1b[0m")
    picture = draw(text_of(screen))
    assert f"$ {COMMAND}" in re.sub(" +", " ", words(picture))
    assert "plain" in words(picture)
    assert "green & bold" in words(picture)
    assert re.search(r"fill: #[0-9a-f]{6};font-weight: bold", picture)


def test_the_picture_in_the_readme_loads_nothing_and_shows_a_run() -> None:
    picture = PICTURE.read_text(encoding="utf-8")
    addresses = set(re.findall(r"https?://[^\s\"<]+", picture))
    assert addresses == {"http://www.w3.org/2000/svg", "https://www.textualize.io"}  # names, and a comment
    assert "url(" not in picture.replace("url(#", "")
    for label in ("items", "files", "bytes", "downloads", "time", "heavy.bin"):
        assert label in words(picture)
