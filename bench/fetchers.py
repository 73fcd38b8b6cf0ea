"""Other download programs, each used in the normal way, into a fresh folder."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import measure
from bench.measure import Failed, Numbers
from bench.network import Line

AT_ONCE = 16
CONNECTIONS = 4
ARIA2_MANY = f"aria2c -j{AT_ONCE} -i list --quiet --file-allocation=none"
ARIA2_ONE = f"aria2c -x{CONNECTIONS} -s{CONNECTIONS} --quiet --file-allocation=none -d f $URL"
CURL_MANY = f"curl --parallel --parallel-max {AT_ONCE} --silent --fail --config curl.txt"
CURL_MANY_PROVEN = f"{CURL_MANY} && sync f/* && md5sum f/* > sums"
CURL_ONE_PROVEN = "curl --silent --fail -o f/one $URL && sync f/one && md5sum f/one"
CURL_PIPED = "curl --silent --fail $URL | md5sum"
CURL_ONE = "curl --silent --fail -o f/one $URL"


@dataclass(frozen=True)
class Fetchers:
    """
    Commands over one world.

    They run in ``folder``, which has the lists, and write into a new folder ``f`` each time.
    """

    line: Line
    folder: Path

    def __post_init__(self) -> None:
        world, at = self.line.served.world, self.line.served.at
        addresses = world.file_addresses(at)
        names = [str(file_id) for file_id in world.file_ids]
        pairs = list(zip(addresses, names, strict=True))
        (self.folder / "list").write_text("".join(f"{url}\n  out=f/{name}\n" for url, name in pairs))
        (self.folder / "curl.txt").write_text(
            "".join(f'url="{url}"\noutput="f/{name}"\n' for url, name in pairs)
        )

    def shell(self, command: str, *, keeps: bool = True) -> Callable[[], Numbers]:
        """Return a function that runs a shell command; `keeps`: the command leaves files."""
        url = self.line.served.world.file_addresses(self.line.served.at)[0]
        is_one_program = not {"&&", "|"} & set(command.split())
        script = ("exec " if is_one_program else "") + command.replace("$URL", shlex.quote(url))
        return self.program(["sh", "-c", script], keeps=keeps, memory=is_one_program)

    def program(
        self, words: Sequence[str], *, keeps: bool = True, memory: bool = True
    ) -> Callable[[], Numbers]:
        """Return a function that runs a program and checks that all files were downloaded."""

        def once() -> Numbers:
            target = self.folder / "f"
            measure.put_aside(target)
            target.mkdir()
            numbers = measure.run([*self.line.within, *words], cwd=self.folder, memory=memory).numbers
            if keeps:
                self._must_be_there(target)
            measure.put_aside(target)
            return numbers

        return once

    def _must_be_there(self, target: Path) -> None:
        world = self.line.served.world
        found = [path.stat().st_size for path in target.rglob("*") if path.is_file()]
        if sum(found) != len(world.file_ids) * world.file_size:
            raise Failed(f"{len(world.file_ids)} files expected, but {len(found)} of {sum(found)} bytes came")
