# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl calibrate``: what each precision below fp32 costs a model, measured and written down."""

import dataclasses
import hashlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception import __version__
from mtl_perception.errors import ConfigurationError
from mtl_perception.files import write_atomically
from mtl_perception.frames import Outputs
from mtl_perception.inference.engine import Engine, MotionScorer
from mtl_perception.inference.int8_file import file_digest, int8_path
from mtl_perception.inference.precision import ID_OUTPUTS, TOLERANCES, Figures, kind_of
from mtl_perception.inference.step_graph import read_manifest
from mtl_perception.manifest import Manifest, find_model

Evaluation = Callable[[Engine], dict[str, Any]]
"""Runs an engine over the frames; returns the metrics of each task and ``frames``."""


class ComparedEngine:
    """
    An engine that notes what it saw and, beside a reference, how many ids are the same.

    :param engine: answers.
    :param reference: runs on the same frames with a state of its own; None if there is none.
    """

    def __init__(self, engine: Engine, reference: Engine | None = None) -> None:
        self.manifest: Manifest = engine.manifest
        self.motion_head: MotionScorer | None = engine.motion_head
        self.setup = engine.setup
        self.gives_confidence = getattr(engine, 'gives_confidence', False)
        self._engine = engine
        self._reference = reference
        self._digest = hashlib.sha256()
        self._equal = 0
        self._total = 0

    @property
    def frames_sha256(self) -> str:
        """Digest of all images so far, hexadecimal."""
        return self._digest.hexdigest()

    @property
    def equal_ids(self) -> float | None:
        """Share of the ids that are those of the reference; None if there were none."""
        return self._equal / self._total if self._total else None

    def step(
        self, image: NDArray[np.uint8], state: Any = None, tasks: Collection[str] | None = None,
    ) -> tuple[Outputs, Any]:
        """Return what the engine answers, see :meth:`.Engine.step`; the state is that of both."""
        self._digest.update(np.ascontiguousarray(image).tobytes())
        own, other = (None, None) if state is None else state
        outputs, own = self._engine.step(image, own, tasks)
        if self._reference is None:
            return outputs, (own, None)

        wanted, other = self._reference.step(image, other, tasks)
        for name in ID_OUTPUTS:
            found, truth = getattr(outputs, name), getattr(wanted, name)
            if found is not None and truth is not None:
                self._equal += int((found == truth).sum())
                self._total += found.size
        return outputs, (own, other)


def measure(
    reference: Engine, others: Collection[Engine], evaluate: Evaluation, data: str,
    model: str | Path,
) -> list[Figures]:
    """
    Measure precisions of one engine beside its fp32.

    :param reference: in fp32.
    :param others: the same model in other precisions.
    :param evaluate: runs an engine over the frames, the same ones each time.
    :param data: the frames in words.
    :param model: name or path of the model.
    :raises ConfigurationError: if the frames were not the same each time.
    """
    watched = ComparedEngine(reference)
    wanted = evaluate(watched)
    found = []
    for engine in others:
        compared = ComparedEngine(engine, reference)
        metrics = evaluate(compared)
        if compared.frames_sha256 != watched.frames_sha256:
            raise ConfigurationError(
                f'{data}: the frames changed between two passes; nothing was written. Do not '
                'change the data while mtl calibrate runs')

        setup, manifest = engine.setup, engine.manifest
        low = setup.precision == 'int8'
        found.append(Figures(
            setup.engine, kind_of(setup.device), setup.precision, manifest.sha256,
            manifest.motion_head, data, int(metrics['frames']), compared.frames_sha256,
            {'mtl_perception': __version__, setup.engine: setup.version}, _metrics(wanted),
            _metrics(metrics), compared.equal_ids,
            file_digest(int8_path(model)) if low else ''))
    return found


def write_figures(model: str | Path, figures: Collection[Figures]) -> Path:
    """
    Write figures into the manifest of a model; those of other weights are taken out.

    :param model: name or path of the model, which is verified; neither weights nor graph are
        touched. A graph without a manifest beside it gets one.
    :return: the manifest.
    :raises CheckpointError: if the model cannot be trusted.
    :raises StorageError: if the manifest cannot be written.
    """
    path = find_model(model)
    beside = path.with_suffix('.json')
    manifest = read_manifest(model)
    if beside.is_file():
        manifest = Manifest.from_json(beside.read_text(encoding='utf-8'), str(beside))

    kept = {name: value for name, value in manifest.precisions.items()
            if isinstance(value, dict) and value.get('weights') == manifest.sha256
            and value.get('motion_head') == manifest.motion_head}
    kept |= {one.name: one.to_dict() for one in figures}
    write_atomically(
        dataclasses.replace(manifest, precisions=kept).to_json().encode(), beside)
    return beside


def _metrics(report: dict[str, Any]) -> dict[str, float]:
    """Return the metrics that are compared, as far as they are numbers."""
    found = {}
    for one in TOLERANCES:
        value = report.get(one.task, {}).get(one.metric)
        if value is not None and np.isfinite(value):
            found[f'{one.task}.{one.metric}'] = float(value)
    return found
