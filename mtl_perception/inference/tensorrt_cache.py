# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Where the engines that TensorRT builds are kept, so that only the first start takes minutes.

TensorRT tunes its kernels for one graph, one precision, one version and one GPU. A folder of the
cache is named by a fingerprint of all of them: what changes any of them finds an empty folder,
never the engine of something else.
"""

import ctypes
import hashlib
import importlib.metadata
import json
import logging
import os
from pathlib import Path

LIBRARY = 'libnvinfer.so'
MAJORS = (None, 10, 11, 9, 8)
"""Versions in the file name of the library; None is the name without one."""
DESCRIBED = ('/proc/driver/nvidia/version', '/proc/device-tree/model')
"""Files that tell the driver, and on a Jetson the board."""
GPUS = Path('/proc/driver/nvidia/gpus')
LASTING = ('Model', 'GPU UUID', 'GPU Firmware')
"""What stands in their files and is the same after the next start of the machine."""
COUNTED = ('CUDA_VISIBLE_DEVICES', 'CUDA_DEVICE_ORDER', 'NVIDIA_VISIBLE_DEVICES')
"""Variables that change which GPU an index is; the last one is that of containers."""

_log = logging.getLogger(__name__)


def fingerprint(content: bytes, precision: str, runtime: str, tensorrt: str, device: str) -> str:
    """
    Return the name of the folder of an engine, 64 hexadecimal digits.

    :param content: the graph.
    :param precision: ``fp32`` or ``fp16``.
    :param runtime: version of ONNX Runtime.
    :param tensorrt: its version.
    :param device: which GPU, with its driver.
    """
    facts = [hashlib.sha256(content).hexdigest(), precision, runtime, tensorrt, device]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def cache_folder(content: bytes, precision: str, runtime: str, index: int) -> Path | None:
    """
    Return the folder of an engine on this machine; it is made if missing.

    What lies in it is run as it is. So it belongs to this user alone, or is not used.

    :param content: the graph.
    :param precision: ``fp32`` or ``fp16``.
    :param runtime: version of ONNX Runtime.
    :param index: of the GPU.
    :return: None if there can be no such folder; the reason is in the log.
    """
    # an empty variable counts as none, as its specification says
    base = Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser()
    root = base / 'mtl_perception' / 'tensorrt'
    folder = root / fingerprint(
        content, precision, runtime, tensorrt_version(), device_name(index))

    try:
        for part in (root, folder):
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = part.stat()
            if found.st_uid != os.getuid() or found.st_mode & 0o022:
                raise PermissionError(f'{part} belongs to or can be written by others')
        if not os.access(folder, os.W_OK):
            raise PermissionError(f'{folder} cannot be written')
    except (OSError, RuntimeError) as error:  # the latter: there is no home
        _log.warning('the engine of TensorRT is not kept, each start builds it again (%s)', error)
        return None
    return folder


def tensorrt_version() -> str:
    """Return the version of TensorRT: of its Python package, else of its library, or unknown."""
    for name in ('tensorrt', 'tensorrt-cu13', 'tensorrt-cu12', 'tensorrt-cu11'):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue

    for major in MAJORS:
        try:
            library = ctypes.CDLL(LIBRARY if major is None else f'{LIBRARY}.{major}')
            return str(library.getInferLibVersion())
        except (OSError, AttributeError):
            continue
    return 'unknown'


def device_name(index: int) -> str:
    """
    Return which GPU an index is, with driver and board, as far as this machine tells it.

    CUDA counts the GPUs that variables of the environment leave, in the order that they name.
    """
    facts = [str(index), *(f'{name}={os.environ.get(name)}' for name in COUNTED)]
    try:
        for gpu in sorted(GPUS.iterdir()):
            lines = (gpu / 'information').read_text(errors='replace').splitlines()
            facts += [line for line in lines if line.startswith(LASTING)]
    except OSError:
        facts.append('no NVIDIA driver with files in /proc')

    for name in DESCRIBED:
        try:
            facts.append(Path(name).read_text(errors='replace'))
        except OSError:
            continue
    return '\n'.join(facts)
