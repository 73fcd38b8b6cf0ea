"""
pyfigshare on the same items: its own download of an item, in threads, one item after the other.

It has no option and no variable for the api's address, but its client's ``baseurl`` can be set; nothing of it
is changed. Run by the Python of an environment that has it: ``with_pyfigshare.py API FOLDER ID …``.
"""

from __future__ import annotations

import sys

from pyfigshare.figshare import Figshare

THREADS = 16


def main(api: str, folder: str, item_ids: list[str]) -> None:
    """Download every file of some items."""
    client = Figshare(private=False)
    client.baseurl = api + "/{endpoint}"
    for item_id in item_ids:
        client.download_article(item_id, outdir=f"{folder}/{item_id}", cpu=THREADS)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
