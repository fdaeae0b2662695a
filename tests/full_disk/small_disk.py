"""Disk in memory with as little room as wanted."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

PAGE_KIB = 4
_ROOM_KIB = 400_000


class SmallDisk:
    """Disk that is a tmpfs; `unmount` it in the end.

    Args:
        path: empty folder to mount it on.
        room_kib: capacity in KiB; None for plenty.

    Raises:
        PermissionError: if this user may not mount a tmpfs.
    """

    def __init__(self, path: Path, room_kib: int | None = None) -> None:
        self.path = path
        size = f"size={PAGE_KIB + (_ROOM_KIB if room_kib is None else room_kib)}k"
        self._mount("-t", "tmpfs", "-o", size, "tmpfs")
        (path / "ballast.txt").write_text("takes a page")

    def forbid_writing(self) -> None:
        """Make the disk read-only from now on."""
        self._mount("-o", "remount,ro")

    def make_room(self) -> None:
        """Give the disk plenty of room from now on."""
        self._mount("-o", f"remount,size={_ROOM_KIB}k")

    @property
    def used_kib(self) -> int:
        """KiB that all files take."""
        found = os.statvfs(self.path)
        return (found.f_blocks - found.f_bfree) * found.f_frsize // 1024 - PAGE_KIB

    def unmount(self) -> None:
        """Remove the disk with all its files."""
        subprocess.run(["umount", self.path], check=True)

    def _mount(self, *args: str) -> None:
        done = subprocess.run(["mount", *args, self.path], capture_output=True, text=True)
        if done.returncode:
            raise PermissionError(done.stderr.strip())
