"""What a large gateway holds is put on large pages, and nothing else is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from voke_gateway.runtime.large_pages import LARGE_PAGE, small_pages

PROGRAM = """
import re
from pathlib import Path
from voke_gateway.runtime.large_pages import collapse

def on_large_pages():
    return int(re.search(r"AnonHugePages: +([0-9]+) kB", Path("/proc/self/smaps_rollup").read_text())[1])

kept = [b"%0400d" % number for number in range(200_000)]
before = on_large_pages()
asked = collapse()
assert all(int(text) == number for number, text in enumerate(kept))
print(asked, on_large_pages() - before)
"""


def mapping(
    start: int, size: int, *, used: int | None = None, large: int = 0, mode: str = "rw-p", file: str = ""
) -> str:
    used = size if used is None else used
    inode = 77 if file.startswith("/") else 0
    return (
        f"{start:x}-{start + size:x} {mode} 00000000 00:00 {inode} {file}\n"
        f"Size:           {size // 1024:8} kB\nRss:            {used // 1024:8} kB\n"
        f"AnonHugePages:  {large // 1024:8} kB\nVmFlags: rd wr mr mw me ac sd\n"
    )


def test_whole_large_pages_of_own_memory_that_is_in_use_are_found() -> None:
    smaps = mapping(LARGE_PAGE + 4096, 3 * LARGE_PAGE) + mapping(8 * LARGE_PAGE, LARGE_PAGE, file="[heap]")
    assert list(small_pages(smaps)) == [
        (2 * LARGE_PAGE, 4 * LARGE_PAGE),
        (8 * LARGE_PAGE, 9 * LARGE_PAGE),
    ]


def test_memory_that_is_hardly_used_shared_of_a_file_too_small_or_large_already_is_left_alone() -> None:
    two = 2 * LARGE_PAGE
    smaps = "".join(
        (
            mapping(0, two, used=LARGE_PAGE),
            mapping(two, two, file="/usr/lib/libpython3.11.so"),
            mapping(2 * two, two, mode="r--p"),
            mapping(3 * two, two, mode="rw-s"),
            mapping(4 * two, two, file="[stack]"),
            mapping(5 * two + 4096, LARGE_PAGE),
            mapping(6 * two, two, large=two),
        )
    )
    assert list(small_pages(smaps)) == []


def test_a_process_that_asks_gets_them_and_keeps_what_it_holds() -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    asked, kilobytes = result.stdout.split()
    assert asked == "True" or not offered()
    if asked == "True":
        assert int(kilobytes) > 32 * 1024


def offered() -> bool:
    """Whether this kernel has large pages for whoever asks: since Linux 6.1, unless they are switched off."""
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    release = re.match(r"([0-9]+)\.([0-9]+)", Path("/proc/sys/kernel/osrelease").read_text())
    assert release is not None
    recent = (int(release[1]), int(release[2])) >= (6, 1)
    return recent and setting.exists() and "[never]" not in setting.read_text()
