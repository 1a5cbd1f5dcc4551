"""A small disk that can be filled."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

_BLOCK: Final = bytes(4096)


@contextmanager
def small_disk(directory: Path, megabytes: int) -> Iterator[Path]:
    """Have a directory be a disk of its own for the block, whose owner is the directory's.

    Where file systems cannot be mounted the test is skipped, and says so.
    """
    owner = directory.stat()
    options = f"size={megabytes}m,uid={owner.st_uid},gid={owner.st_gid},mode=0700"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"needs leave to mount a file system: {mounted.stderr.strip()}")
    try:
        yield directory
    finally:
        # Whoever still has a file open there keeps it until it is closed.
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


@contextmanager
def filled(directory: Path) -> Iterator[None]:
    """Have the disk of a directory be full for the block."""
    ballast = directory / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(_BLOCK):
                pass
        except OSError:
            assert not os.statvfs(directory).f_bavail
    try:
        yield
    finally:
        ballast.unlink()
