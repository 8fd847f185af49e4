# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Which precision below fp32 a model may run in without being asked: what was measured decides.

``mtl calibrate`` runs a model in fp32 and in a lower precision over the same frames and writes
:class:`.Figures` into its manifest. ``precision: auto`` takes the lower precision only where such
figures, of these weights, are within ``TOLERANCES``, ``EQUAL_IDS`` and ``FEWEST_FRAMES``.
"""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtl_perception.errors import PerceptionError
from mtl_perception.inference.step_graph import SUFFIX, read_manifest
from mtl_perception.manifest import Manifest, find_model


@dataclass(frozen=True)
class Tolerance:
    """
    How much worse than in fp32 a metric may be.

    :param task: of the metric.
    :param metric: its key in a report.
    :param label: its name for people.
    :param largest: loss that is still accepted; for ``relative`` a share of the value in fp32.
    :param lower_is_better: whether a loss is a rise.
    :param relative: whether a loss is a share of the value in fp32.
    """

    task: str
    metric: str
    label: str
    largest: float
    lower_is_better: bool = False
    relative: bool = False

    def loss(self, fp32: float, found: float) -> float:
        """Return by how much a value is worse than in fp32; negative if it is better."""
        difference = found - fp32 if self.lower_is_better else fp32 - found
        return difference / fp32 if self.relative and fp32 else difference


TOLERANCES = (
    Tolerance('semantic', 'miou', 'mIoU', 0.005),
    Tolerance('depth', 'abs_rel', 'AbsRel', 0.02, lower_is_better=True, relative=True),
    Tolerance('motion', 'auc', 'motion AUC', 0.005),
    Tolerance('instance', 'panoptic', 'panoptic quality', 0.005),
    Tolerance('detection', 'ap50', 'box AP50', 0.005),
)
"""What is compared, in this order: a figure for each task that a model may have."""
ID_OUTPUTS = ('semantic', 'motion')
"""Outputs of a network that are ids."""
EQUAL_IDS = 0.995
"""Smallest share of the ids that are those of fp32."""
FEWEST_FRAMES = 100
"""Figures of fewer frames do not count."""

PREFERRED = (
    ('onnx', 'tensorrt', 'fp16'), ('torch', 'cuda', 'fp16'), ('torch', 'cuda', 'bf16'),
    ('openvino', 'cpu', 'bf16'), ('openvino', 'cpu', 'int8'))
"""Engine, device and precision that ``auto`` tries, the fastest first. Torch in bf16 on a CPU is
not among them: whether it is faster than fp32 depends on the CPU and was not measured."""


@dataclass(frozen=True)
class Figures:
    """
    What a precision costs a model.

    :param engine: ``torch``, ``onnx`` or ``openvino``.
    :param device: ``cpu``, ``cuda`` or ``tensorrt``.
    :param precision: below fp32.
    :param weights: sha256 of the weights, as the manifest has it.
    :param motion_head: sha256 of the motion head, empty if there is none.
    :param data: what was evaluated, in words.
    :param frames: how many frames were evaluated.
    :param frames_sha256: of every image that the network saw, one after the other.
    :param versions: of the package and of the engine's library.
    :param fp32: metric, named ``TASK.METRIC`` -> its value in fp32 of the same engine.
    :param found: the same in the precision.
    :param equal_ids: share of the ids of the network that are those of fp32; None if it has none.
    :param graph: sha256 of the file of the graph in int8; empty in other precisions.
    """

    engine: str
    device: str
    precision: str
    weights: str
    motion_head: str
    data: str
    frames: int
    frames_sha256: str
    versions: dict[str, str]
    fp32: dict[str, float]
    found: dict[str, float]
    equal_ids: float | None
    graph: str = ''

    @property
    def name(self) -> str:
        """Key in ``precisions`` of the manifest."""
        return key(self.engine, self.device, self.precision)

    def to_dict(self) -> dict[str, Any]:
        """Return what the manifest holds."""
        return dataclasses.asdict(self)

    def text(self) -> str:
        """Return the figures in words."""
        parts = [] if self.equal_ids is None else [f'{self.equal_ids:.3%} of the ids as in fp32']
        for one in TOLERANCES:
            name = f'{one.task}.{one.metric}'
            if name in self.fp32 and name in self.found:
                parts.append(f'{one.label} {self.found[name]:.4f} (fp32 {self.fp32[name]:.4f})')
        return ', '.join([*parts, f'measured on {self.frames} frames', self.data])


def key(engine: str, device: str, precision: str) -> str:
    """Return the key of figures in a manifest."""
    return f'{engine} {device} {precision}'


def kind_of(device: str) -> str:
    """Return a device without the number of the GPU."""
    return device.partition(':')[0]


def recorded(manifest: Manifest, engine: str, device: str, precision: str) -> Figures | None:
    """
    Return the figures that a manifest holds; None if there are none of its weights.

    :param manifest: of the model.
    :param engine: ``torch``, ``onnx`` or ``openvino``.
    :param device: with or without the number of a GPU.
    :param precision: below fp32.
    """
    try:
        figures = Figures(**manifest.precisions[key(engine, kind_of(device), precision)])
        numbers = [*figures.fp32.values(), *figures.found.values(), figures.frames]
        if figures.equal_ids is not None:
            numbers.append(figures.equal_ids)
        if not all(math.isfinite(number) for number in numbers):
            return None
    except (KeyError, TypeError, AttributeError, ValueError):
        return None  # what somebody wrote by hand counts as not measured

    measured = (figures.weights, figures.motion_head)
    return figures if measured == (manifest.sha256, manifest.motion_head) else None


def objection(figures: Figures, manifest: Manifest) -> str:
    """
    Return why ``auto`` does not take a precision; empty if it does.

    :param figures: what was measured.
    :param manifest: of the model; each of its tasks must have been evaluated, its ids compared.
    """
    if figures.frames < FEWEST_FRAMES:
        return f'measured on {figures.frames} frames, wanted at least {FEWEST_FRAMES}'
    if figures.equal_ids is None:
        if names := [name for name in ID_OUTPUTS if name in manifest.network.channels]:
            return f'the ids of {" and ".join(names)} were not compared'
    elif figures.equal_ids < EQUAL_IDS:
        return f'{figures.equal_ids:.3%} of the ids are those of fp32, wanted {EQUAL_IDS:.1%}'

    for one in TOLERANCES:
        if manifest.task(one.task) is None:
            continue
        name = f'{one.task}.{one.metric}'
        if name not in figures.fp32 or name not in figures.found:
            return f'{one.label} was not measured'

        full, found = figures.fp32[name], figures.found[name]
        if one.loss(full, found) > one.largest:
            limit = f'{one.largest:.1%}' if one.relative else f'{one.largest:g}'
            return (f'{one.label} is {found:.4f}, in fp32 {full:.4f}; a loss of at most {limit} '
                    'is accepted')
    return ''


def described_manifest(model: str | Path) -> Manifest | None:
    """
    Return the manifest that holds the figures of a model; None if there is none.

    That is the file beside the weights or the graph, since a graph is sealed.

    :param model: name of a shipped model or path of a ``.safetensors`` or ``.onnx`` file.
    :raises CheckpointError: if there is no such model.
    """
    path = find_model(model)
    beside = path.with_suffix('.json')
    try:
        if beside.is_file():
            return Manifest.from_json(beside.read_text(encoding='utf-8'), str(beside))
        return read_manifest(path) if path.suffix == SUFFIX else None
    except (PerceptionError, OSError, UnicodeDecodeError):
        return None  # the engine refuses such a model, with the reason
