# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From the name of a message type to its Python class and its definition for a bag."""

import importlib
import os
import re
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore

from mtl_perception.errors import ConfigurationError

NAME = re.compile('([a-z][a-z0-9_]*)/msg/([A-Z][A-Za-z0-9]*)')


class MessageTypes:
    """The message types of this ROS installation."""

    def __init__(self) -> None:
        stores = {store.value: store for store in Stores}
        self._store = get_typestore(
            stores.get(f'ros2_{os.environ.get("ROS_DISTRO", "")}', Stores.LATEST))

    @staticmethod
    def python_class(msgtype: str) -> Any:
        """
        Return the class of a type such as ``sensor_msgs/msg/Image``.

        :raises ConfigurationError: if it is not installed.
        """
        package, name = _split(msgtype)
        try:
            return getattr(importlib.import_module(f'{package}.msg'), name)
        except (ImportError, AttributeError) as error:
            raise ConfigurationError(
                f'message type {msgtype!r} is not installed here ({error})') from error

    def definition(self, msgtype: str) -> tuple[str, str]:
        """
        Return the text of a definition with every type that it uses, and its hash.

        :raises ConfigurationError: if there is no definition of that type.
        """
        self._learn(msgtype)
        text, _ = self._store.generate_msgdef(msgtype, ros_version=2)
        return text, self._store.hash_rihs01(msgtype)

    def _learn(self, msgtype: str) -> None:
        """Read a definition that rosbags does not know from the package that installs it."""
        if msgtype in self._store.fielddefs:
            return
        package, name = _split(msgtype)
        try:
            folder = Path(get_package_share_directory(package))
            text = (folder / 'msg' / f'{name}.msg').read_text(encoding='utf-8')
            found = get_types_from_msg(text, msgtype)
        except (OSError, LookupError, ValueError, TypesysError) as error:
            raise ConfigurationError(
                f'message type {msgtype!r}: its definition cannot be read ({error})') from error

        # register() wants every type that the definition uses
        for _, fields in found.values():
            for _, field in fields:
                for used in _names(field):
                    self._learn(used)
        self._store.register(found)


def _split(msgtype: str) -> tuple[str, str]:
    """Return the package and the name within it."""
    found = NAME.fullmatch(msgtype)
    if found is None:
        raise ConfigurationError(
            f'message type {msgtype!r}: wanted a name such as sensor_msgs/msg/Image')
    return found[1], found[2]


def _names(field: Any) -> list[str]:
    """Return the names of the messages in a field's description."""
    if isinstance(field, str):
        return [field] if '/msg/' in field else []
    if isinstance(field, tuple | list):
        return [name for part in field for name in _names(part)]
    return []
