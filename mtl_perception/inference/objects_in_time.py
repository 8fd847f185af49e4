# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From the outputs of a network for one frame to its objects, with ids that hold."""

import numpy as np

from mtl_perception.egomotion import Pinhole
from mtl_perception.frames import Objects, Outputs
from mtl_perception.inference.confidence import CONFIDENCES, offered
from mtl_perception.inference.engine import Engine
from mtl_perception.inference.moving_objects import Moving
from mtl_perception.inference.objects import Floats, Ids, cut_objects, kept
from mtl_perception.inference.tracking import ObjectTracker
from mtl_perception.inference.vector_objects import vector_objects
from mtl_perception.manifest import Manifest

OBJECTS = 'objects'
"""Name by which a stream is asked for objects in time."""


def has_objects(manifest: Manifest) -> bool:
    """Return whether a model gives what objects are made from."""
    semantic = manifest.task('semantic')
    return (semantic is not None and bool(semantic.movable)
            and manifest.task('depth') is not None)


def object_tasks(engine: Engine) -> set[str]:
    """
    Return the tasks that objects are made from.

    :raises ValueError: if the model lacks one.
    """
    manifest = engine.manifest
    if not has_objects(manifest):
        raise ValueError(
            f'model {manifest.name!r} has no objects: wanted semantics with movable classes, and '
            f'depth; it has {[task.name for task in manifest.tasks]}')
    wanted = {'semantic', 'depth'} | {
        name for name in ('motion', 'instance') if manifest.task(name) is not None}
    return wanted | ({CONFIDENCES['semantic']} & {*offered(engine)})


class ObjectsInTime:
    """
    Objects of one camera: those of the model's instance head, or else cut from its masks.

    Not safe to use from several threads; each camera has its own.

    :param manifest: of the model.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self.tracker = ObjectTracker()
        """Gives the ids."""

    def process(
        self, stamp_ns: int, outputs: Outputs, depth_scale: float, camera: Pinhole,
        moving: Moving,
    ) -> Objects:
        """
        Return the objects of the next frame.

        :param stamp_ns: of the frame, nanoseconds; after that of the last one.
        :param outputs: of the network, with semantics and depth.
        :param depth_scale: factor that makes the network's depth that of this camera.
        :param camera: at the network's size.
        :param moving: what is known of motion in the frame.
        """
        semantic, depth = outputs.semantic, outputs.depth
        assert semantic is not None  # both were asked for
        assert depth is not None
        metres = depth * np.float32(depth_scale)
        ids, belief = self._found(outputs)
        return self.tracker.update(
            stamp_ns, ids, semantic, metres, camera, moving, outputs.semantic_confidence, belief)

    def _found(self, outputs: Outputs) -> tuple[Ids, Floats | None]:
        """Return which object each pixel belongs to, and how far each is believed if unsure."""
        semantic, depth = outputs.semantic, outputs.depth
        assert semantic is not None
        assert depth is not None
        task = self._manifest.task('semantic')
        assert task is not None
        sure = outputs.semantic_confidence
        if outputs.objects is not None:
            return kept(outputs.objects.astype(np.int32), sure), None
        if outputs.instance is not None:
            return vector_objects(outputs.instance, semantic, task.movable, sure)
        return cut_objects(semantic, depth, task.movable, sure), None
