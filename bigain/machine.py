"""Facts about this machine: its processor's name, and the output of its programs."""

import platform
import subprocess
from pathlib import Path

__all__ = ["command_output", "cpu_model"]


def cpu_model() -> str | None:
    """Name of the processor; None if it is unknown."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return (
            command_output("sysctl", "-n", "machdep.cpu.brand_string")
            or platform.processor()
            or None
        )
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def command_output(*command: str) -> str | None:
    """Output of a command, stripped; None if it is missing, fails or takes over 20 seconds."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
