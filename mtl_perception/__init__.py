# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Multi-task perception for ROS 2: semantics, depth and motion from one network.

.. code-block:: python

    from mtl_perception import load_model

    model = load_model('street')
    answer = model('image.jpg')
    answer.semantic  # (H, W) uint8 class ids, named in model.classes['semantic']
    answer.depth  # (H, W) float32 metres

The names below are imported when they are first used, so ``import mtl_perception`` itself needs
neither torch nor ROS.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtl_perception.errors import (
        CheckpointError,
        ConfigurationError,
        DataError,
        DeviceError,
        FrameError,
        PerceptionError,
    )
    from mtl_perception.frames import Detections, Frame, Perception
    from mtl_perception.inference.model import Model, load_model
    from mtl_perception.inference.stream import CameraStream
    from mtl_perception.inference.torch_engine import TorchEngine
    from mtl_perception.synthetic import Street

__version__ = '0.1.0'

__all__ = [
    'CameraStream',
    'CheckpointError',
    'ConfigurationError',
    'DataError',
    'Detections',
    'DeviceError',
    'Frame',
    'FrameError',
    'Model',
    'Perception',
    'PerceptionError',
    'Street',
    'TorchEngine',
    'load_model',
]

_MODULES = {
    'errors': (
        'CheckpointError', 'ConfigurationError', 'DataError', 'DeviceError', 'FrameError',
        'PerceptionError'),
    'frames': ('Detections', 'Frame', 'Perception'),
    'inference.model': ('Model', 'load_model'),
    'inference.stream': ('CameraStream',),
    'inference.torch_engine': ('TorchEngine',),
    'synthetic': ('Street',),
}
"""Module below this package -> the public names that it defines."""
_TORCH = ('torch', 'torchvision', 'safetensors')
"""What an installation for running models leaves out."""


def __getattr__(name: str) -> Any:
    """
    Import a public name when it is first used (PEP 562).

    :raises ModuleNotFoundError: if a library is missing, with what to install.
    """
    module = next((module for module, names in _MODULES.items() if name in names), None)
    if module is None:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    try:
        value = getattr(importlib.import_module(f'{__name__}.{module}'), name)
    except ModuleNotFoundError as error:
        package = f'{__name__}[torch]' if error.name in _TORCH else __name__
        raise ModuleNotFoundError(
            f'{__name__}.{name} needs the Python module {error.name!r}, which is not installed; '
            f"pip install '{package}' brings it", name=error.name) from error

    globals()[name] = value  # the next use finds it without this function
    return value


def __dir__() -> list[str]:
    """Return the names of the module, also those that are not imported yet."""
    return sorted({*globals(), *__all__})
