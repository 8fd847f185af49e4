# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a machine is, as far as it tells; what it does not tell is left out."""

import contextlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from mtl_perception import __version__

PACKAGES = (
    'numpy', 'opencv-python-headless', 'opencv-python', 'onnxruntime', 'onnxruntime-gpu',
    'openvino', 'nncf', 'torch', 'tensorrt', 'rclpy', 'ros-kilted-rclpy',
    'ros-kilted-rmw-fastrtps-cpp')
"""Packages whose versions matter."""
FILES = {
    'board': '/proc/device-tree/model',
    'governor': '/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor',
    'driver': '/proc/driver/nvidia/version'}
"""Fact -> file that tells it, in its first line."""
COMMANDS = {
    'gpu': ('nvidia-smi', '--query-gpu=name,driver_version,power.limit', '--format=csv,noheader'),
    'power_mode': ('nvpmodel', '-q')}
"""Fact -> program that tells it; the latter one on a Jetson."""
TIMEOUT_S = 10.0


def machine_facts() -> dict[str, str | int]:
    """Return processor, memory, GPU, system and Python of this machine."""
    found: dict[str, str | int] = {
        'cpu': _cpu() or platform.processor() or platform.machine(), 'cpus': cpus(),
        'system': f'{platform.system()} {platform.release()} {platform.machine()}',
        'python': platform.python_version()}

    with contextlib.suppress(ValueError, OSError, AttributeError):
        size = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
        found['memory_mb'] = round(size / 1e6)
    for name, path in FILES.items():
        with contextlib.suppress(OSError):
            text = Path(path).read_text(errors='replace').strip('\0 \n')
            found[name] = (text.splitlines() or [''])[0]
    for name, command in COMMANDS.items():
        if text := _output(command):
            found[name] = text
    return found


def versions() -> dict[str, str]:
    """Return the versions of this package and of those that matter for speed."""
    found = {'mtl_perception': __version__}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    for name in ('ROS_DISTRO', 'RMW_IMPLEMENTATION'):
        if value := os.environ.get(name):
            found[name] = value
    return found


def cpus() -> int:
    """Return how many CPUs this process may use."""
    affinity: Callable[[int], set[int]] | None = getattr(os, 'sched_getaffinity', None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def load_average() -> float | None:
    """Return how many threads wanted a CPU in the last minute; None where that is unknown."""
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):
        return None


def _cpu() -> str:
    """Return the name of the processor; empty where it is unknown."""
    with contextlib.suppress(OSError):
        for line in Path('/proc/cpuinfo').read_text(errors='replace').splitlines():
            if line.startswith(('model name', 'Model')):
                return line.partition(':')[2].strip()
    return ''


def _output(command: tuple[str, ...]) -> str:
    """Return what a program prints, in one line; empty if it is not there or fails."""
    if shutil.which(command[0]) is None:
        return ''
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
        return '; '.join(done.stdout.split('\n')).strip('; ')
    return ''
