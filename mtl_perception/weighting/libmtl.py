# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Import LibMTL (Lin and Zhang, JMLR 2023; MIT), to time it beside this package.

Get it with ``git clone https://github.com/median-research-group/LibMTL``; it need not be
installed. Libraries that only its other strategies need (cvxpy, torch_geometric, qpsolvers) are
replaced by empty modules where they are missing.
"""

import importlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

from mtl_perception.errors import ConfigurationError

_UNUSED = ('cvxpy', 'qpsolvers', 'torch_geometric')


class _Empty(types.ModuleType):
    """Stands in for a missing library; everything imported from it is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith('__'):
            raise AttributeError(name)


def import_libmtl(folder: Path) -> Any:
    """
    Return the package ``LibMTL`` of a checkout.

    :param folder: the checkout, with the folder ``LibMTL`` in it.
    :raises ConfigurationError: if it is missing or its import fails.
    """
    if not (folder / 'LibMTL' / 'trainer.py').is_file():
        raise ConfigurationError(
            f'{folder}: no LibMTL/trainer.py; give a checkout of '
            'https://github.com/median-research-group/LibMTL')

    for name in _UNUSED:
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            sys.modules[name] = _Empty(name)

    sys.path.insert(0, str(folder.resolve()))
    try:
        return importlib.import_module('LibMTL')
    except ImportError as error:
        raise ConfigurationError(f'{folder}: LibMTL cannot be imported ({error})') from error
    finally:
        sys.path.pop(0)
