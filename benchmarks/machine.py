"""Where and with what the benchmarks ran, so that numbers of two runs can be compared."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("redis", "hiredis", "msgpack", "uvloop", "pydantic")
_ROOT = Path(__file__).resolve().parent.parent


def machine() -> dict[str, str | int | float | None]:
    """Return what this machine is, and how busy it was over the last minute."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory GiB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load": round(os.getloadavg()[0], 2),
    }


def software() -> dict[str, str]:
    """Return the versions of Python and of the packages that matter for speed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}


def cpu_of(pid: int) -> float:
    """Return the seconds of CPU that a process of this machine has used, in steps of 10 ms; Linux only."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def commit() -> str | None:
    """Return the commit that runs, with `+` if files differ from it; None outside of a repository."""
    name = _git("rev-parse", "--short=12", "HEAD")
    if name is None:
        return None
    return name + ("+" if _git("status", "--porcelain") else "")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _git(*words: str) -> str | None:
    command: Sequence[str] = ("git", "-C", str(_ROOT), *words)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
