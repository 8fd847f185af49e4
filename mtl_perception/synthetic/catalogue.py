# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The models of cars, people and cyclists of one street, built when first seen."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mtl_perception.synthetic.mesh import Array, Mesh, join
from mtl_perception.synthetic.people import POSES, cyclist, person
from mtl_perception.synthetic.traffic import Actor
from mtl_perception.synthetic.vehicles import MODELS, car, model_random, shape_of

Builder = Callable[[str, np.random.Generator, float], Mesh]

COUNTS = {'car': MODELS, 'person': 12, 'cyclist': 6}
"""Number of models of each kind."""


class Catalogue:
    """
    Hold the models of one street.

    :param seed: seed of the street.
    :param lights: brightness of lamps, 0 = off.
    :param build: builds a car from shape, random numbers and lights.
    """

    def __init__(self, seed: int, lights: float, build: Builder = car) -> None:
        self.seed = seed
        self.lights = lights
        self._build = build
        self._models: dict[tuple[str, int], list[Mesh]] = {}
        self._sizes: dict[tuple[str, int], Array] = {}

    def poses(self, actor: Actor) -> list[Mesh]:
        """Return the meshes of an actor's model, one for each pose of its legs."""
        key = actor.kind, actor.model % COUNTS[actor.kind]
        if key not in self._models:
            if actor.kind == 'car':
                rng = model_random(self.seed, key[1])
                self._models[key] = [self._build(shape_of(rng), rng, self.lights)]
            elif actor.kind == 'person':
                self._models[key] = person(np.random.default_rng([self.seed, 40, 2, key[1]]))
            else:
                self._models[key] = cyclist(np.random.default_rng([self.seed, 40, 1, key[1]]))

            corners = self._models[key][0].corners
            self._sizes[key] = corners.max((0, 1)) - corners.min((0, 1))
        return self._models[key]

    def size(self, actor: Actor) -> Array:
        """Return width, height and length of an actor in metres."""
        self.poses(actor)
        return self._sizes[actor.kind, actor.model % COUNTS[actor.kind]]

    def assemble(self, actors: Sequence[Actor]) -> tuple[Mesh, NDArray[np.int64]]:
        """
        Join the meshes of actors, each at its place.

        :return: one mesh, and for each face the position of its actor in ``actors``, (F,) int64.
        """
        meshes = []
        for actor in actors:
            poses = self.poses(actor)
            meshes.append(poses[int(actor.phase * POSES) % len(poses)])
        if not meshes:
            return join([]), np.full(1, -1, np.int64)

        # One line per face: place and direction of its actor
        whole = join(meshes)
        count = np.array([len(mesh) for mesh in meshes])
        place = np.array([[one.x, one.z, np.cos(one.yaw), np.sin(one.yaw)] for one in actors])
        x0, z0, cosine, sine = (np.repeat(value, count) for value in place.T)

        # Turn by yaw and move: x' = x cos + z sin + x0, z' = z cos - x sin + z0
        corners = np.empty_like(whole.corners)
        normal = np.empty_like(whole.normal)
        x, z = whole.corners[..., 0], whole.corners[..., 2]
        corners[..., 0] = cosine[:, None] * x + sine[:, None] * z + x0[:, None]
        corners[..., 1] = whole.corners[..., 1]
        corners[..., 2] = cosine[:, None] * z - sine[:, None] * x + z0[:, None]
        normal[:, 0] = cosine * whole.normal[:, 0] + sine * whole.normal[:, 2]
        normal[:, 1] = whole.normal[:, 1]
        normal[:, 2] = cosine * whole.normal[:, 2] - sine * whole.normal[:, 0]

        moved = Mesh(corners, normal, whole.colour, whole.label, whole.texture, whole.mapping,
                     whole.glow, whole.gloss)
        return moved, np.repeat(np.arange(len(actors)), count)
