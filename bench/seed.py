"""
Typical scripts of users: a transcription of `chain-api-calls`, the scripts that the harvester replaces.

As there: `requests.get` without a session, one after the other, three loops, nothing checked, nothing
retried; the records of the account's endpoint with the token. Different: the addresses and the number of
items are arguments, and the seconds of each loop are printed. pandas, which only prints, is not used.

    python -m bench.seed --api URL --stats URL --items 40 [--files FOLDER]
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

import requests

HEADERS = {"Authorization": "token sandbox-token"}
CATEGORIES = ("'Digital Humanities'", "'Environmental Humanities'")


def list_ids(api: str) -> list[int]:
    """List the items of two categories, nine pages each, each id once."""
    results = []
    for category in CATEGORIES:
        query = json.loads('{"search_for":":category: ' + category + '"}')
        for page in range(1, 10):
            address = api + f"/articles/search?page_size=1000&page={page}"
            results.extend(json.loads(requests.post(address, params=query).content))
    return list(dict.fromkeys(item["id"] for item in results))


def records(api: str, ids: list[int]) -> list[Any]:
    """Request the full records, one by one."""
    full_records = []
    for item_id in ids:
        answer = requests.get(api + "/account/articles/" + str(item_id), headers=HEADERS)
        full_records.append(json.loads(answer.text))
    return full_records


def statistics(stats: str, ids: list[int]) -> list[dict[str, int]]:
    """Request views, then downloads, one item after the other."""
    found = []
    for item_id in ids:
        views = json.loads(requests.get(stats + "/total/views/article/" + str(item_id)).text)
        downloads = json.loads(requests.get(stats + "/total/downloads/article/" + str(item_id)).text)
        found.append(
            {"item_id": item_id, "total_views": views["totals"], "total_downloads": downloads["totals"]}
        )
    return found


def files(api: str, ids: list[int], folder: Path) -> None:
    """Request the file lists, then each file, completely in memory."""
    wanted = []
    for item_id in ids:
        for file in json.loads(requests.get(api + "/articles/" + str(item_id) + "/files").text):
            file["item_id"] = item_id
            wanted.append(file)
    for file in wanted:
        response = requests.get(api + "/file/download/" + str(file["id"]), headers=HEADERS)
        (folder / str(file["item_id"])).mkdir(exist_ok=True)
        with (folder / str(file["item_id"]) / file["name"]).open("wb") as out:
            out.write(response.content)


def main() -> None:
    """Run the parts in order, and print the seconds of each as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--api", required=True)
    parser.add_argument("--stats", required=True)
    parser.add_argument("--items", type=int, default=40)
    parser.add_argument("--files", type=Path, help="download into this folder too")
    args = parser.parse_args()
    marks = [time.perf_counter()]
    ids = list_ids(args.api)[: args.items]
    marks.append(time.perf_counter())
    records(args.api, ids)
    marks.append(time.perf_counter())
    statistics(args.stats, ids)
    marks.append(time.perf_counter())
    if args.files:
        files(args.api, ids, args.files)
        marks.append(time.perf_counter())
    parts = ("listing", "records", "statistics", "files")
    seconds = [after - before for before, after in itertools.pairwise(marks)]
    print(json.dumps({"items": len(ids), **dict(zip(parts, seconds, strict=False))}))


if __name__ == "__main__":
    main()
