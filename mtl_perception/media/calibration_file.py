# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Calibration files: those of ``camera_calibration``, old and new, and those of OpenCV."""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np
import yaml
from numpy.typing import NDArray

from mtl_perception.errors import ConfigurationError
from mtl_perception.media.calibration import Calibration
from mtl_perception.media.intrinsics import intrinsics_of

LARGEST_FILE = 1 << 20
"""Larger files are not read, bytes."""

MOST_NUMBERS = 64
"""More in a row of a matrix are refused."""

WANTED = ('the YAML that camera_calibration writes, or that of OpenCV with camera_matrix, '
          'distortion_coefficients, image_width and image_height')

_NAMES = {
    'width': ('image_width', 'width'),
    'height': ('image_height', 'height'),
    'size': ('image_size', 'resolution'),
    'k': ('camera_matrix', 'cameramatrix', 'intrinsic_matrix', 'k'),
    'd': ('distortion_coefficients', 'distcoeffs', 'dist_coeffs', 'd'),
    'model': ('distortion_model', 'camera_model'),
    'r': ('rectification_matrix', 'r'),
    'p': ('projection_matrix', 'p'),
}
"""What is read -> the keys that programs use for it, in small letters."""


class _Loader(yaml.SafeLoader):
    """Reads plain values alone, and the matrices of OpenCV as such."""


def _opencv_matrix(loader: yaml.SafeLoader, node: Any) -> Any:
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor('tag:yaml.org,2002:opencv-matrix', _opencv_matrix)


def calibration_path(text: str | Path) -> Path:
    """
    Return the path of a calibration file, as ROS drivers take it.

    :param text: a path, with or without ``~``; ``file:///path``; or ``package://NAME/path`` below
        the share folder of a package.
    :raises ConfigurationError: if it is another address, or the package is not found.
    """
    text = str(text)
    kind, colon, rest = text.partition(':/')
    if colon and kind == 'file':
        return Path('/' + unquote(urlparse(text).path).lstrip('/'))
    if colon and kind == 'package':
        package, _, below = rest.lstrip('/').partition('/')
        return _share_of(package, text) / below
    if colon and re.fullmatch(r'[a-z][a-z0-9+.-]+', kind):
        raise ConfigurationError(
            f'{text}: is an address; wanted a path, file:///path or package://NAME/path')
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigurationError(f'{text}: {error}; write the path in full') from error


def read_calibration(path: str | Path) -> Calibration:
    """
    Read a calibration file.

    A matrix that the file lacks is what it is without distortion and rectification.

    :param path: see :func:`calibration_path`.
    :raises ConfigurationError: if it cannot be read, lacks the intrinsics, or cannot be believed.
    """
    path = calibration_path(path)
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ValueError(f'has more than {LARGEST_FILE} bytes')

        found = _calibration_in(_content(path.read_text(encoding='utf-8')))
    except (OSError, ValueError, TypeError, OverflowError, RecursionError,
            yaml.YAMLError) as error:
        raise ConfigurationError(
            f'{path}: not a calibration file ({type(error).__name__}: {error}); wanted {WANTED}'
        ) from error

    # A good P does not make up for a K that is wrong: the file is published as it is.
    own = intrinsics_of(replace(found, p=np.zeros((3, 4))), (found.height, found.width))
    if own.focal_px is None:
        raise ConfigurationError(
            f'{path}: not a calibration file that can be believed ({own.reason}); calibrate the '
            'camera again')
    return found


def _content(text: str) -> Mapping[str, Any]:
    """
    Return the values of a file by their keys in small letters.

    :raises ValueError: if it holds none.
    """
    # OpenCV's first line is no YAML: it has a colon for the space of "%YAML 1.0".
    text = re.sub(r'\A\ufeff?%YAML:[^\n]*\n', '', text)
    content = _Loader(text).get_single_data()
    if not isinstance(content, dict):
        raise ValueError(f'it holds {type(content).__name__}, not keys and values')
    return {str(key).strip().lower(): value for key, value in content.items()}


def _calibration_in(content: Mapping[str, Any]) -> Calibration:
    """
    Return the calibration in the values of a file.

    :raises ValueError: if one is missing or has another number of numbers.
    """
    found = {name: next((content[key] for key in keys if content.get(key) is not None), None)
             for name, keys in _NAMES.items()}
    if found['size'] is not None and found['width'] is None:
        found['width'], found['height'] = _numbers(found['size'], 2, 'image_size')
    for name in ('width', 'height', 'k'):
        if found[name] is None:
            raise ValueError(f'it lacks {_NAMES[name][0]}')

    # What is missing is as without it: no distortion, no rectification, P as K.
    k = _numbers(found['k'], 9, 'camera_matrix').reshape(3, 3)
    d = np.zeros(5) if found['d'] is None else _numbers(found['d'], 0, 'distortion_coefficients')
    r = np.eye(3)
    if found['r'] is not None:
        r = _numbers(found['r'], 9, 'rectification_matrix').reshape(3, 3)
    p = np.concatenate([k, np.zeros((3, 1))], axis=1)
    if found['p'] is not None:
        p = _numbers(found['p'], 12, 'projection_matrix').reshape(3, 4)

    model = str(found['model'] or '').strip().lower()
    if not model and content.get('fisheye_model'):
        model = 'equidistant'
    if model in ('', 'pinhole'):
        model = 'rational_polynomial' if len(d) > 5 else 'plumb_bob'
    return Calibration(_whole(found['height'], 'image_height'),
                       _whole(found['width'], 'image_width'), model, d, k, r, p)


def _numbers(value: Any, count: int, name: str) -> NDArray[np.float64]:
    """
    Return the numbers of a matrix, written with or without its size.

    :param count: how many there must be, 0 = any.
    :raises ValueError: if there are others.
    """
    data = value.get('data') if isinstance(value, dict) else value
    rows = data if isinstance(data, list) else [data]
    if len(rows) > MOST_NUMBERS or any(
            isinstance(row, list) and len(row) > MOST_NUMBERS for row in rows):
        raise ValueError(f'{name} has more than {MOST_NUMBERS} numbers')
    flat: list[Any] = []
    for row in rows:
        flat += row if isinstance(row, list) else [row]
    numbers = np.array([float(number) for number in flat])
    if count and len(numbers) != count:
        raise ValueError(f'{name} has {len(numbers)} numbers, wanted {count}')
    return numbers


def _whole(value: Any, name: str) -> int:
    """
    Return a size in pixels.

    :raises ValueError: if it is none.
    """
    number = float(value)
    if not (1 <= number <= 1 << 20 and number == int(number)):
        raise ValueError(f'{name} is {value!r}, wanted pixels')
    return int(number)


def _share_of(package: str, text: str) -> Path:
    """
    Return the share folder of an installed ROS package.

    :raises ConfigurationError: if no prefix of the environment has it.
    """
    prefixes = [one for one in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep) if one]
    for prefix in prefixes:
        share = Path(prefix) / 'share' / package
        if share.is_dir():
            return share
    raise ConfigurationError(
        f'{text}: the package {package!r} is in none of the {len(prefixes)} folders of '
        'AMENT_PREFIX_PATH; source the workspace that has it, or write the path')
