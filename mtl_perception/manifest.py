# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
The manifest: what must be known to use a weights file, and the proof that it is unchanged.

A model is two files beside each other, ``NAME.safetensors`` and ``NAME.json`` (the manifest).
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtl_perception.errors import CheckpointError, StorageError
from mtl_perception.files import flush, replacing
from mtl_perception.reason_codes import ReasonCode
from mtl_perception.tasks import Task

FORMAT = 1
PRETRAINED = Path(__file__).parent / 'pretrained'
"""Where the shipped models live."""
DEFAULT_MODEL = 'roads'
"""The shipped model for images of cameras."""

DEPTH_CHANNELS = {False: 1, True: 2}
"""
Whether a network tells how depth follows the height of the camera -> channels of its depth. The
second is for that, see :func:`mtl_perception.models.streaming.at_height`.
"""


@dataclass(frozen=True)
class NetworkSpec:
    """
    The architecture, in the words of :func:`mtl_perception.models.build.build_network`.

    :param encoder: one of :data:`mtl_perception.models.build.ENCODERS`, or ``timm:NAME``.
    :param frames: frames of a stream that the network sees together, the newest among them.
    :param finest_stride: stride of the finest encoder stage that the decoders see: 8 is the
        FCN8 of the papers, 4 and 2 add one and two more skips, which thin objects need.
    :param channels: output channels per task, such as ``{'semantic': 12, 'depth': 1}``; for
        ``detection`` the number of classes, of which the decoder makes anchors x (5 + classes).
    :param pyramid: channels per stage of a feature pyramid between encoder and decoders, 0 for
        none, as in the papers.
    :param decoders: task -> one of :data:`mtl_perception.models.build.DECODERS`; a task that is
        not named has ``fcn8``, detection ``yolo``.
    :param aggregation: how the features of the frames are joined, one of
        :data:`mtl_perception.models.siamese.AGGREGATIONS`.
    :param output_stride: stride of the coarsest encoder stage: 32, or 16 or 8 by dilation.
    :param aspp: channels per branch of an ASPP between encoder and decoders, 0 for none; 256 is
        that of Kendall et al.
    :param anchors: (width, height) of each anchor box of the detection, as fractions of the
        image's width and height.
    :param decoder_width: channels inside the decoders ``unet`` and ``two_layer``, 0 for the 128
        and 256 of the papers; the task-transfer networks start with half of it.
    :param initial: task -> initial mean of its outputs; by default the logarithm of ten metres for
        depth, else 0.
    :param transfer: whether there are task-transfer networks between semantics and depth, which
        only a training with consistency losses needs.
    :param sharing: what the tasks share, one of :data:`mtl_perception.models.siamese.SHARING`.
    """

    encoder: str = 'resnet50'
    frames: int = 2
    finest_stride: int = 8
    channels: dict[str, int] = field(default_factory=dict)
    pyramid: int = 0
    decoders: dict[str, str] = field(default_factory=dict)
    aggregation: str = 'concatenate'
    output_stride: int = 32
    aspp: int = 0
    anchors: list[list[float]] = field(default_factory=list)
    decoder_width: int = 0
    initial: dict[str, float] = field(default_factory=dict)
    transfer: bool = False
    sharing: str = 'hard'

    @property
    def height_exponents(self) -> bool:
        """Whether the network tells, in each pixel, how depth follows the camera's height."""
        return self.channels.get('depth') == DEPTH_CHANNELS[True]


@dataclass(frozen=True)
class Manifest:
    """
    Everything that must be known to use the weights.

    :param name: name of the model.
    :param network: the architecture.
    :param tasks: the tasks of the network, in the order of ``network.channels``; with a motion
        head also motion, if the network has no decoder for it.
    :param height: input height of the network, pixels.
    :param width: input width of the network, pixels.
    :param mean: per-channel RGB mean that the network subtracts, 0 to 255.
    :param std: per-channel RGB standard deviation that the network divides by, 0 to 255.
    :param focal_px: focal length of the training camera at the network's width, pixels.
    :param focal_y_px: the same along the columns, at the network's height; 0 = equal to
        ``focal_px``. They differ where training images were resized to other proportions.
    :param camera_height: of the training camera above the ground, metres; 0 = unknown.
    :param height_exponent: how depth follows the height of a camera: as (height / height of the
        training) to this power. A world twice as large looks the same from twice the height, which
        makes it 1; a network that saw one height knows how large cars, people and lanes are, and
        0.7 fits such a one on the street.
    :param semantic_temperature: the scores of the classes are divided by this before they become
        probabilities; 1 where it was never fitted.
    :param depth_confidence: weights of :func:`.depth_confidence`; empty where they were never
        fitted: such a model has no confidence of depth.
    :param sha256: digest of the weights file, hexadecimal.
    :param motion_head: digest of the file ``NAME.motion`` beside the weights, which classifies
        motion from residual flow; empty if the network itself predicts motion.
    :param metrics: measured on data that the training never saw.
    :param precisions: engine, device and precision -> what ``mtl calibrate`` has measured of it
        beside fp32, see :class:`.Figures`; those of other weights do not count.
    :param training: data, recipe, seed, steps and code version.
    :param command: the command line that made the weights.
    :param licence: licence of the weights.
    """

    name: str
    network: NetworkSpec
    tasks: tuple[Task, ...]
    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    focal_px: float
    focal_y_px: float = 0.0
    camera_height: float = 0.0
    height_exponent: float = 0.7
    semantic_temperature: float = 1.0
    depth_confidence: tuple[float, ...] = ()
    sha256: str = ''
    motion_head: str = ''
    metrics: dict[str, Any] = field(default_factory=dict)
    precisions: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    command: str = ''
    licence: str = 'Apache-2.0'

    def task(self, name: str) -> Task | None:
        """Return the task of that name, None if the network does not have it."""
        return next((task for task in self.tasks if task.name == name), None)

    def to_json(self) -> str:
        """Return the manifest as JSON text."""
        return json.dumps({'format': FORMAT, **dataclasses.asdict(self)}, indent=2) + '\n'

    @staticmethod
    def from_json(text: str, source: str = 'manifest') -> 'Manifest':
        """
        Return the manifest that :meth:`to_json` wrote.

        :raises CheckpointError: if it is not JSON, of another format, or lacks a field.
        """
        try:
            fields = json.loads(text)
            if fields.pop('format', None) != FORMAT:
                raise CheckpointError(
                    f'{source}: not a manifest of format {FORMAT}; export the model again with '
                    'this version of mtl_perception', ReasonCode.MANIFEST_INVALID)

            fields['network'] = NetworkSpec(**fields['network'])
            fields['tasks'] = tuple(Task.from_dict(task) for task in fields['tasks'])
            for name in ('mean', 'std'):
                fields[name] = tuple(float(value) for value in fields[name])
            fields['depth_confidence'] = tuple(
                float(value) for value in fields.get('depth_confidence', ()))
            return Manifest(**fields)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise CheckpointError(
                f'{source}: not a valid manifest ({type(error).__name__}: {error}); it must be '
                'the .json file that was written together with the weights',
                ReasonCode.MANIFEST_INVALID) from error


def shipped_models() -> list[str]:
    """Return the names of the models that come with the package."""
    return sorted(file.stem for file in PRETRAINED.glob('*.safetensors'))


def find_model(model: str | Path) -> Path:
    """
    Return the weights file of a shipped model's name or of a path.

    :raises CheckpointError: if there is no such file; the message lists the shipped names.
    """
    try:
        shipped = PRETRAINED / f'{model}.safetensors'
        if shipped.is_file():
            return shipped
        path = Path(model).expanduser().absolute()
        if path.is_file():
            return path
    except (OSError, RuntimeError) as error:  # no permission, no such user, too long a name
        raise CheckpointError(
            f'model {str(model)[:200]!r} cannot be looked up ({error})',
            ReasonCode.MODEL_UNREADABLE) from error

    kind = 'is a directory' if path.is_dir() else 'does not exist'
    raise CheckpointError(
        f'model {str(model)!r}: {path} {kind}; give the path of a .safetensors file or one of '
        f'the shipped models {shipped_models()}', ReasonCode.MODEL_UNREADABLE)


def read_model(model: str | Path) -> tuple[Manifest, bytes]:
    """
    Read a model once and verify it against its manifest.

    The bytes that were hashed are the bytes that are returned, so the file cannot be swapped in
    between.

    :return: the manifest and the safetensors file's content.
    :raises CheckpointError: if a file is missing, unreadable, foreign, cut or changed.
    """
    path = find_model(model)
    if path.suffix == '.onnx':
        raise CheckpointError(
            f'{path}: its weights are in a graph; give the .safetensors file that it was made '
            'from', ReasonCode.MODEL_FOREIGN)

    manifest_path = path.with_suffix('.json')
    if not manifest_path.is_file():
        raise CheckpointError(
            f'{path}: its manifest {manifest_path} does not exist; keep both files together',
            ReasonCode.MANIFEST_INVALID)
    try:
        text = manifest_path.read_text(encoding='utf-8')
        content = path.read_bytes()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f'{path}: cannot be read ({error})', ReasonCode.MODEL_UNREADABLE) from error

    manifest = Manifest.from_json(text, str(manifest_path))
    digest = hashlib.sha256(content).hexdigest()
    if digest != manifest.sha256:
        raise CheckpointError(
            f'{path}: sha256 is {digest}, the manifest wants {manifest.sha256 or "nothing"} '
            f'({len(content)} bytes{_looks_like(content)}); refusing to load. Copy the model '
            'again or export it again', ReasonCode.MODEL_CHANGED)
    return manifest, content


def write_model(manifest: Manifest, content: bytes, path: str | Path) -> Manifest:
    """
    Write the two files of a model, each of them whole or not at all.

    Both are on the disk under temporary names before either is renamed, so a full disk leaves the
    folder as it was. The weights are renamed first: if the machine stops between the two, the old
    manifest refuses the new weights instead of describing them wrongly.

    :param manifest: its ``sha256`` is replaced by that of the content.
    :param content: the safetensors file.
    :param path: where to write it, ``NAME.safetensors``; the manifest becomes ``NAME.json``.
    :return: the manifest as written.
    :raises StorageError: if a file cannot be written.
    """
    path = Path(path)
    if path.suffix != '.safetensors':
        raise StorageError(f'{path}: a model is written to a path that ends in .safetensors')

    written = dataclasses.replace(manifest, sha256=hashlib.sha256(content).hexdigest())
    with replacing(path.with_suffix('.json')) as text, replacing(path) as weights:
        weights.write_bytes(content)
        text.write_bytes(written.to_json().encode())
        flush(weights)
        flush(text)
    return written


def _looks_like(content: bytes) -> str:
    """Return what a file that fails its check probably is, as words for a message."""
    if not content:
        return ', an empty file'
    if content.startswith(b'version https://git-lfs'):
        return ', a Git LFS pointer: run git lfs pull'
    if content.lstrip()[:5].lower() in (b'<!doc', b'<html'):
        return ', an HTML page'
    if content.startswith(b'PK') or content.startswith(b'\x80'):
        return ', a pickle, which is never loaded'
    return ''
