"""A disk that can lose its power: what was written and not yet synced is gone, as it would be on a real machine.

An ext4 file system on a loop device whose blocks are kept in memory. `EXT4_IOC_SHUTDOWN` stops it at once, without
writing what the page cache holds; mounting it again replays its journal. With `noauto_da_alloc` ext4 does not repair
what its users forgot to sync, and with `commit` it writes as seldom as it may. Needs Linux, root and e2fsprogs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import subprocess
import time
from pathlib import Path

_SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32), of Linux's fs/ext4/ext4.h; the same number on x86 and arm."""
_NO_LOG_FLUSH = 2
_OPTIONS = "loop,noauto_da_alloc,commit=300"
_UNMOUNT_SECONDS = 60.0


class Disk:
    """A file system in memory, mounted on a folder.

    Args:
        folder: where it is mounted; created.
        megabytes: its size; only what is written takes memory.
    """

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        self._memory = folder.with_name(f"{folder.name}-blocks")
        self._blocks = self._memory / "blocks"
        folder.mkdir(parents=True)
        self._memory.mkdir()
        _run("mount", "-t", "tmpfs", "-o", f"size={megabytes + 64}m,mode=700", "chaos", str(self._memory))
        with self._blocks.open("wb") as file:
            file.truncate(megabytes << 20)
        _run("mkfs.ext4", "-q", "-m", "0", str(self._blocks))
        self._mount()
        folder.chmod(0o755)

    def cut_power(self) -> None:
        """Stop the disk at once: every write after this fails, and what was not synced is lost."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def restore_power(self) -> None:
        """End the processes that still use the disk, and mount it again.

        Raises:
            subprocess.CalledProcessError: this process uses it still.
        """
        deadline = time.monotonic() + _UNMOUNT_SECONDS
        while True:
            for pid in self._users():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                _run("umount", str(self.folder))
            except subprocess.CalledProcessError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                break
        self._mount()

    def close(self) -> None:
        """Unmount the disk and forget its content."""
        for folder in (self.folder, self._memory):
            with contextlib.suppress(subprocess.CalledProcessError):  # not mounted
                _run("umount", "--lazy", str(folder))
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _users(self) -> list[int]:
        """Return the other processes that have a file of the disk open or work in one of its folders."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has just ended
                links = [process / "cwd", *(process / "fd").iterdir()]
                paths = [str(link.readlink()) for link in links]
                if int(process.name) != os.getpid() and any(path.startswith(f"{self.folder}/") for path in paths):
                    found.append(int(process.name))
        return found

    def _mount(self) -> None:
        _run("mount", "-o", _OPTIONS, str(self._blocks), str(self.folder))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
