# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
The exceptions of the package, each with a stable reason code.

A reason code is what counters, diagnostics and logs show;
see :mod:`mtl_perception.ros.diagnostics`.
"""


class PerceptionError(Exception):
    """
    Root of the package's own exceptions.

    :param message: what went wrong, where, what was found, what was wanted and what to do.
    :param code: stable reason code, such as ``I03_short``.
    """

    exit_code = 2

    def __init__(self, message: str, code: str = '') -> None:
        super().__init__(f'[{code}] {message}' if code else message)
        self.code = code


class ConfigurationError(PerceptionError):
    """A setting is wrong: an unknown key, a value out of range, a name that does not exist."""

    exit_code = 2


class DataError(PerceptionError):
    """A data set, an image file, a label or a recorded bag is missing or wrong."""

    exit_code = 3


class CheckpointError(PerceptionError):
    """A weights file, a manifest or a training checkpoint cannot be trusted or does not fit."""

    exit_code = 4


class StorageError(PerceptionError):
    """A file could not be written: the disk is full, read-only or gone."""

    exit_code = 5


class NumericError(PerceptionError):
    """A loss or a weight is not finite."""

    exit_code = 6


class DeviceError(PerceptionError):
    """A device was asked for that this machine or this build of torch does not have."""

    exit_code = 7


class FrameError(PerceptionError):
    """One camera message is unusable; the frame is dropped and counted, the node goes on."""

    exit_code = 3
