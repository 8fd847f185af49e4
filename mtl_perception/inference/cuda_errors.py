# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What exceptions of torch on a GPU mean; torch is not imported for this."""

import contextlib
from collections.abc import Iterator

from mtl_perception.errors import DeviceError, FrameError
from mtl_perception.reason_codes import ReasonCode

MEMORY = ('out of memory', 'ALLOC_FAILED')
"""In the text of an exception that tells of memory of the GPU."""


@contextlib.contextmanager
def usable_gpu(device: str) -> Iterator[None]:
    """
    Say what to do where torch fails while a network is brought to a device.

    A GPU that is there may still be one that this build of torch has no kernels for, or be full.

    :param device: for the message; on the CPU, errors are left as they are.
    :raises DeviceError: in place of an exception of torch or of a frame.
    """
    try:
        yield
    except (DeviceError, FrameError, OSError, RuntimeError) as error:
        if device == 'cpu' or getattr(error, 'code', '') == ReasonCode.MEMORY:
            raise
        cause = error.__cause__ or error  # what the engine made of it in a step is no frame's
        short = gpu_reason(cause) == ReasonCode.DEVICE_MEMORY
        raise DeviceError(
            f'torch cannot use {device} ({type(cause).__name__}: {first_line(cause)}); set device '
            'to cpu or engine to onnx',
            ReasonCode.DEVICE_MEMORY if short else ReasonCode.DEVICE_MISSING) from error


def gpu_reason(error: BaseException) -> str:
    """
    Return the reason code of an exception of torch on a GPU; empty if it tells of none.

    Without memory one frame is lost, and the next may be smaller. Any other error of CUDA is
    sticky: nothing works in this process any more.
    """
    if type(error).__name__ == 'OutOfMemoryError':
        return ReasonCode.DEVICE_MEMORY
    text = str(error)
    if not isinstance(error, RuntimeError) or not ('CUDA' in text or 'cuDNN' in text):
        return ''
    short = any(word in text for word in MEMORY)
    return ReasonCode.DEVICE_MEMORY if short else ReasonCode.DEVICE_LOST


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's text."""
    return (str(error).splitlines() or [''])[0][:200]
