# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a user calls a source: a path of this machine, or an address of a network camera."""

import re
from pathlib import Path

from mtl_perception.errors import ConfigurationError

_ADDRESS = re.compile(r'[A-Za-z][A-Za-z0-9+.-]+://.+', re.DOTALL)


def is_address(text: str) -> bool:
    """Return whether a source is an address such as ``rtsp://camera/stream``, not a path."""
    return _ADDRESS.fullmatch(text) is not None


def without_password(address: str) -> str:
    """Return an address as it may stand in a log."""
    return re.sub(r'(://[^/@:]*):[^/@]*@', r'\1:***@', address)


def local_path(text: str) -> Path:
    """
    Return a path of this machine; ``~`` is the home folder, which shells do not always expand.

    :raises ConfigurationError: if the text is an address, or names a user that does not exist.
    """
    if is_address(text):
        raise ConfigurationError(
            f'{without_password(text)} is an address, wanted a path of this machine; '
            'camera_source plays addresses (source:=...), and record:=true records them')
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigurationError(f'{text}: {error}; write the path in full') from error
