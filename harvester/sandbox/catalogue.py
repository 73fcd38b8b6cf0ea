"""Catalogue: the ids, groups, types, peculiarities and names of the sandbox's items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PUBLIC_FROM, PRIVATE_FROM, STEP = 5_000_001, 9_000_000_001, 3
FILES_AN_ITEM = 100
LISTED_FILES = 10
INSTITUTION, INSTITUTION_NAME = 319, "iastate"
OWN_ACCOUNT, COLLEAGUE_ACCOUNT = 1_000_001, 1_000_002
CATEGORIES = (
    (1001, "Digital Humanities"),
    (1002, "Environmental Humanities"),
    (1003, "Physical oceanography"),
    (1004, "Marine biology"),
    (1005, "Data structures"),
    (1006, "Soil sciences"),
    (1007, "History of science"),
)
GROUPS = (
    (11960, 0, "Institution"),
    (11962, 11960, "Agriculture"),
    (11963, 11962, "Crops"),
    (11964, 11962, "Soil"),
    (11970, 11960, "Arts"),
)
COLLECTIONS: Mapping[int, tuple[int, int]] = {4_000_001: (0, 5), 4_000_002: (0, 2), 5_234_234: (0, 10)}
"""Id to the first item's number, and the step to the next one."""
PROJECTS: Mapping[int, tuple[int, int]] = {113_001: (1, 4), 113_002: (0, 2), 113_166: (3, 4)}
"""As `COLLECTIONS`; an item is in one project at most."""
UNLISTED: Mapping[int, int] = {1_138_718: 2, 5_616_409: 6, 14_763_051: 10}
"""Ids of the documentation's examples, to the number whose facts they have. No listing has these items."""
LICENCES = (
    (1, "CC BY 4.0", "https://creativecommons.org/licenses/by/4.0/"),
    (2, "CC0", "https://creativecommons.org/publicdomain/zero/1.0/"),
    (3, "MIT", "https://opensource.org/licenses/MIT"),
)
OWN_LICENCE = (90, "In Copyright", "https://rightsstatements.org/vocab/InC/1.0/")
OWN_TYPE = (41, "data paper")
"""Terms that only institutions have, see `Settings.own_terms`."""
TYPES = ((3, "dataset"), (1, "figure"), (9, "software"), (8, "thesis"), (7, "presentation"))
TRAITS: Mapping[int, str] = {
    1: "heavy",
    3: "equal names",
    5: "names alike",
    7: "many files",
    8: "hostile names",
    11: "link",
    13: "empty file",
    17: "supplied md5 only",
    18: "no md5",
    21: "metadata record",
    23: "embargo",
    24: "confidential",
    27: "downloads disabled",
    29: "odd title",
    31: "ten files",
    32: "many files in folders",
    33: "three versions",
    37: "unknown to stats",
    41: "nulls",
    43: "files null",
}
IDENTIFIED: Mapping[int, str] = {
    40: "wrong-id-doi",
    42: "portal",
    44: "shared-doi",
    45: "shared-doi",
    46: "hex-doi",
    47: "minted-handle",
    48: "handle-only",
    49: "collection-doi",
}
"""Like `TRAITS`, for identifiers; only the kinds in the settings are used."""
PORTAL = "repository.example.org"
TITLES = (
    '=HYPERLINK("https://example.org";"click")',
    'commas, "quotes"\nand a line break',
    "数据集 данные بيانات",
    "\x1b[31mred\x1b[0m title",
    "@mention",
    "-1",
)
TERMINAL = "\x1b[2J\x1b[31m\x1b]0;owned\x07\x1b]8;;https://example.org\x1b\\\x9b1m\x90\x85\x07\r\x08\x7f\u202e\u200f\u2066"
"""Terminal control sequences: colours, a window title, a link, C1 controls, a bell, cursor moves."""
FORMULAS = ("=1+2", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1+2", "＋1", "＠SUM(A1)")
"""Texts that a spreadsheet runs as formulas."""
TEN_FILES = tuple(f"file_{place:02}.csv" for place in range(10))
NAMES: Mapping[str, tuple[str, ...]] = {
    # items with a trait
    "metadata record": (),
    "equal names": ("data.csv", "data.csv", "readme.txt"),
    "names alike": ("Data.csv", "data.csv", "caf\u00e9.txt", "cafe\u0301.txt"),
    "hostile names": (
        "../../etc/passwd",
        "con.txt",
        "a\x1b[31mb\n.csv",
        "ü" * 150 + ".txt",
        "trailing.",
        "=1+2.csv",
        "C:\\x",
        "..",
    ),
    "heavy": ("heavy.bin",),
    # hostile items
    "surrogates": ("lone \ud800.csv", "\udc00.txt"),
    "nul": ("nul\0inside.csv", "\0"),
    "endless-files": TEN_FILES,
    "thousands": TEN_FILES,
    "repeating-files": TEN_FILES,
    "escape-title": (f"{TERMINAL}broken.csv", f"whole{TERMINAL}.csv"),
    "formula": tuple(f"{formula}.csv" for formula in FORMULAS),
    "long-texts": ("a" * 1_000_000, f"{'b' * 999_996}.csv"),
    "huge-numbers": ("huge.csv", "small.csv"),
    "odd-file": ("good.csv", "odd_size.csv", "odd_id.csv", "another.csv"),
    "odd-words": (
        "de\u0301compose\u0301.csv",
        ".hidden",
        "@at.csv",
        'what: "is" it?.txt',
        "c1\x9b\x0cff.csv",
        "",
    ),
    "link-elsewhere": ("metadata.csv", "passwd.csv", "neighbour.csv"),
}
OWNERS_VIEW = {
    "viewer_type": "",
    "preview_state": "preview not available",
    "upload_url": "",
    "upload_token": "",
    "is_attached_to_public_version": False,
    "status": "available",
}


@dataclass
class Addresses:
    """The addresses of the services; filled in when their sockets are open."""

    api: str = "http://127.0.0.1:0/v2"
    stats: str = "http://127.0.0.1:0"
    files: str = "http://127.0.0.1:0"
    storage: str = "http://127.0.0.1:0"
    elsewhere: str = "http://127.0.0.1:0"
