"""Builds and scripts the C stand-in for libnvidia-ml.so.1; a child process finds it by LD_LIBRARY_PATH."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("nvml_stub.c")
ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class NvmlStub:
    """A built library in a folder, and the script it follows."""

    folder: Path

    @property
    def script(self) -> Path:
        return self.folder / "gpus.txt"

    def write(self, *lines: str) -> None:
        """Change what the GPUs do, at once and as a whole."""
        new = self.script.with_suffix(".new")
        new.write_text("".join(line + "\n" for line in lines))
        new.rename(self.script)

    def environment(self) -> dict[str, str]:
        """Of a child process that shall see these GPUs."""
        return {
            **os.environ,
            "LD_LIBRARY_PATH": str(self.folder),
            "NVML_STUB_SCRIPT": str(self.script),
            "PYTHONPATH": str(ROOT),
        }

    def python(self, code: str, *arguments: str, timeout_s: float = 60) -> str:
        """Run code in a child that sees these GPUs; returns what it printed."""
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code, *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def build(folder: Path) -> NvmlStub:
    """Compile the stub with the machine's C compiler."""
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(library), str(SOURCE)],
        check=True,
    )
    return NvmlStub(folder)


def monotonic_ms() -> int:
    """The stub's clock."""
    return time.monotonic_ns() // 1_000_000
