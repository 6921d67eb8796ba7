"""Changes files in every way that the recorder knows."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import threading
from pathlib import Path

import traced


def main(folder: Path) -> None:
    os.chdir(folder)
    traced.begin()
    descriptor = os.open("first", os.O_RDWR | os.O_CREAT)
    os.write(descriptor, b"0123456789")
    os.lseek(descriptor, 4, os.SEEK_SET)
    os.write(os.dup(descriptor), b"four")
    os.read(descriptor, 1)
    os.writev(descriptor, [b"nine", b"", b"thirteen"])
    os.pwrite(descriptor, b"two", 2)
    os.pwritev(descriptor, [b"far", b"ther"], 9000)
    os.ftruncate(descriptor, 9004)
    os.posix_fallocate(descriptor, 9000, 100)
    os.fdatasync(descriptor)
    names(folder)
    with open("log", "a") as log:  # noqa: PTH123
        threads = [threading.Thread(target=append, args=(log.fileno(), n)) for n in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    subprocess.run(["/bin/sh", "-c", "echo child >> log; echo more > child"], check=True)
    os.truncate("log", 300)
    with open("log", "rb") as log, mmap.mmap(log.fileno(), 0, prot=mmap.PROT_READ) as mapped:  # noqa: PTH123
        traced.acknowledge(len(mapped))


def names(folder: Path) -> None:
    os.makedirs("a/b")  # noqa: PTH103
    inside = os.open("a/b", os.O_RDONLY)
    os.close(os.open("x", os.O_WRONLY | os.O_CREAT, dir_fd=inside))
    os.link("first", "second", dst_dir_fd=inside)
    os.rename("x", "y", src_dir_fd=inside, dst_dir_fd=inside)
    Path("a/b/y").rename(folder / "y")
    os.unlink("second", dir_fd=inside)
    Path("a/b").rmdir()
    os.close(inside)


def append(descriptor: int, number: int) -> None:
    for turn in range(50):
        os.write(descriptor, b"%d %d\n" % (number, turn))


main(Path(sys.argv[1]))
