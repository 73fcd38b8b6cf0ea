"""
`make cases`: scripts that reproduce faults, each run against the program with its result in one line.

They stand in a folder outside the repository (``CASES=…``) with three kinds of them: ``field`` and ``attack``
are programs with a server of their own, ``records`` are answers that a small server gives to a harvest. What
each needs of the machine is looked for first. Ends with status 1 when one of them is wrong.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.case_judges import JUDGES, RECORDS, TELL_NO_VERDICT, Harvest, judge_script

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY.parent / "shared" / "cases"
AT_ONCE = 2
MOST_SECONDS = 300.0
TIME_TO_TIDY_UP = 10.0
"""Seconds that a script which takes too long gets to unmount what it mounted."""
_LIBRARY = frozenset({"lib.py"})

NEEDS: Mapping[str, tuple[str, ...]] = {
    "attack/c05_noroom.py": ("root", "mount", "umount", "namespaces"),
    "attack/r02_readonly_reader.sh": ("root", "setpriv", "another user"),
    "attack/r07_quick_and_the_clock.py": ("faketime",),
    "attack/r18_untrusted_certificate.sh": ("openssl",),
    "field/c11_latin1_locale.py": ("localedef",),
    "field/c12_fake_ip_dns.sh": ("root", "unshare", "ip", "mount", "openssl", "curl", "namespaces"),
    "field/c18_sqlite_locking_protocol.py": ("cc", "linux"),
}
"""What a script asks of the machine besides Python; what is not named here is a program on the path."""
SLOW = frozenset(
    {
        "attack/c05_noroom.py",
        "attack/r02_readonly_reader.sh",
        "attack/r04_gateway_404.py",
        "attack/r07_quick_and_the_clock.py",
        "field/c11_latin1_locale.py",
        "field/c12_fake_ip_dns.sh",
        "field/c18_sqlite_locking_protocol.py",
    }
)
"""What takes long, or rights that a test suite has no business with."""


@dataclass(frozen=True)
class Result:
    """What came of a case: RIGHT, WRONG or not tried; the reasons, and the seconds that it took."""

    name: str
    word: str
    reasons: tuple[str, ...] = ()
    seconds: float = 0.0

    def __str__(self) -> str:
        why = f": {'; '.join(self.reasons)}" if self.reasons else ""
        return f"{self.word:<9} {self.name}{why}"


@dataclass(frozen=True)
class Cases:
    """The cases of a folder, run with one program."""

    folder: Path
    program: Path = field(default_factory=lambda: Path(sys.executable).with_name("harvester"))

    def names(self) -> list[str]:
        """Name every case that there is, such as ``field/c15_loose_types.py``."""
        found = [
            path.relative_to(self.folder).as_posix()
            for pattern in ("field/*.py", "field/*.sh", "attack/*.py", "attack/*.sh", "records/*.json")
            for path in sorted(self.folder.glob(pattern))
        ]
        return [name for name in found if Path(name).name not in _LIBRARY]

    def run(self, name: str) -> Result:
        """Try one case in a folder of its own."""
        if missing := self.missing(name):
            return Result(name, "not tried", (f"missing here: {', '.join(missing)}",))
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="case-", ignore_cleanup_errors=True) as own:
            Path(own).chmod(0o755)  # one case reads its harvest as another user
            run = self._record if name.startswith("records/") else self._script
            word, reasons = run(name, Path(own))
        return Result(name, word, tuple(reasons), time.monotonic() - started)

    def missing(self, name: str) -> list[str]:
        """Name what a case needs and this machine does not have."""
        return [need for need in NEEDS.get(name, ()) if not self._has(need)]

    def _has(self, need: str) -> bool:
        match need:
            case "root":
                return os.geteuid() == 0
            case "linux":
                return sys.platform == "linux"
            case "namespaces":
                return _succeeds("unshare", "-mn", "true")
            case "another user":
                own = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
                return _succeeds(*own, str(self.program), "--version")
            case _:
                return shutil.which(need) is not None

    def _script(self, name: str, own: Path) -> tuple[str, Sequence[str]]:
        path = self.folder / name
        starter = sys.executable if path.suffix == ".py" else "bash"
        status, printed = run_in(own, (starter, str(path)), self._environment(own))
        if status is None:
            return "WRONG", (f"it took more than {MOST_SECONDS:.0f} seconds",)
        if known := JUDGES.get(name):
            return _settled(known(status, printed))
        return judge_script(name, status, printed)

    def _record(self, name: str, own: Path) -> tuple[str, Sequence[str]]:
        expected = RECORDS.get(name)
        if expected is None:
            return "not tried", (TELL_NO_VERDICT,)
        words = (str(self.folder / "records" / "run-case"), str(self.folder / name), *expected.words)
        # The small server may take longer to stand than it is given.
        patient = ("--attempts", "8", "-o", str(own / "out"))
        env = {**self._environment(own), "PORT": str(free_port()), "FIGSHARE_TOKEN": expected.token}
        status, printed = run_in(own, (*words, *patient), {**env, "OUT": str(own / "out")})
        if status is None:
            return "WRONG", (f"it took more than {MOST_SECONDS:.0f} seconds",)
        return _settled(expected.judge(Harvest(own / "out", printed, own / "asked.log")))

    def _environment(self, own: Path) -> dict[str, str]:
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("HARVESTER_", "FIGSHARE_"))
        }
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        more = {"HARVESTER": str(self.program), "PYTHON": sys.executable, "PATH": path, "TMPDIR": str(own)}
        more["OUTAGE_KEY"] = "HARVESTER_RETRY_OUTAGE_TIMEOUT"  # how the scripts call it is up to the program
        return {**kept, **more, "ATTACK_WORK": str(own), "PYTHONDONTWRITEBYTECODE": "1"}


def _settled(reasons: Sequence[str]) -> tuple[str, Sequence[str]]:
    return ("WRONG" if reasons else "RIGHT"), reasons


def run_in(folder: Path, words: Sequence[str], env: Mapping[str, str]) -> tuple[int | None, str]:
    """Run a program in a folder: its exit status, None where it took too long, and what it printed."""
    with subprocess.Popen(
        words,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            printed, _ = process.communicate(timeout=MOST_SECONDS)
        except subprocess.TimeoutExpired:
            end_all(process)
            return None, ""
    return process.returncode, printed.decode(errors="replace")


def end_all(process: subprocess.Popen[bytes]) -> None:
    """End a program and all that it started, with time to tidy up."""
    for how in (signal.SIGINT, signal.SIGKILL):
        os.killpg(process.pid, how)
        try:
            process.communicate(timeout=TIME_TO_TIDY_UP)
        except subprocess.TimeoutExpired:
            continue
        return


def free_port() -> int:
    """Return a port that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _succeeds(*words: str) -> bool:
    try:
        done = subprocess.run(words, check=False, capture_output=True, timeout=30)
    except OSError:
        return False
    return done.returncode == 0


def main(folder: Path, only: Sequence[str]) -> int:
    """Try the cases whose names have one of these in them, all where none is given; tell each as it ends."""
    if not folder.is_dir():
        print(f"there are no cases at {folder}; name their folder: make cases CASES=…")
        return 0
    cases = Cases(folder)
    names = [name for name in cases.names() if not only or any(each in name for each in only)]
    verdicts = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for future in as_completed([pool.submit(cases.run, name) for name in names]):
            verdicts.append(failure_kind := future.result())
            print(failure_kind, flush=True)
    counts = Counter(failure_kind.word for failure_kind in verdicts)
    print(", ".join(f"{counts[word]} {word.lower()}" for word in ("RIGHT", "WRONG", "not tried")))
    return min(1, counts["WRONG"])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve() if sys.argv[1:] else FOLDER, sys.argv[2:]))
