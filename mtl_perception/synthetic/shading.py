# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Colours of samples whose face and distance are known: light, texture, gloss, haze, sky."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.synthetic import ground, textures
from mtl_perception.synthetic.appearance import Appearance
from mtl_perception.synthetic.layout import Layout
from mtl_perception.synthetic.mesh import Array, Mesh
from mtl_perception.synthetic.raster import View

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
SKY, GROUND = -1, 0
"""Numbers in the place of a face's; faces are counted from 1."""

BLOCK = 24576
"""Samples that are processed at once: few enough for the processor's cache."""


def lit(mesh: Mesh, appearance: Appearance) -> Floats:
    """Return (F, 3) float32, the linear light that each face of a mesh sends to the camera."""
    up = -mesh.normal[:, 1:2]
    facing = np.clip(mesh.normal @ appearance.sun, 0, None)[:, None]

    # Leaves let light through from either side.
    leaf = textures.leafy(mesh.texture)
    facing[leaf] = 0.35 + 0.3 * np.abs(mesh.normal[leaf] @ appearance.sun)[:, None]

    # Lambert: reflectance * (light of the sky, less of it on faces that look down, + sun * cosine)
    light = appearance.ambient * (0.70 + 0.30 * up) + appearance.sunlight * facing
    return np.asarray(mesh.colour * (light + mesh.glow[:, None]), np.float32)


@dataclass(frozen=True, eq=False)
class Scene:
    """
    Everything that one frame shows.

    :param mesh: all faces.
    :param light: (F, 3) float32 from :func:`lit`.
    :param window: the ground around the camera.
    :param view: the camera.
    :param shadow: (H, W) uint8 shadow of objects on the ground, 255 = darkest.
    """

    mesh: Mesh
    light: Floats
    window: ground.Window
    view: View
    shadow: NDArray[np.uint8]

    @cached_property
    def normal(self) -> Floats:
        """Return (3, F) float32 normals."""
        return np.ascontiguousarray(self.mesh.normal.T, np.float32)

    @cached_property
    def planes(self) -> Floats:
        """Return (3, F) float32, the light of each face by colour."""
        return np.ascontiguousarray(self.light.T)

    @cached_property
    def surface(self) -> Floats:
        """
        Return (9, F) float32: the gradients of u and v along x, y, z (6), u and v at the camera
        (2), tiles per metre (1).
        """
        mapping, position = self.mesh.mapping, self.view.position
        start = mapping[..., 3] + (mapping[..., 0] * position[0] + mapping[..., 1] * position[1]
                                   + mapping[..., 2] * position[2])

        # Textures that repeat can drop whole tiles, which leaves float32 more digits.
        start -= np.floor(start) * ~textures.holed(self.mesh.texture)[:, None]

        gradient = mapping[..., :3].astype(np.float32)
        steep = np.sqrt(np.sqrt((gradient[:, 0] ** 2).sum(1) * (gradient[:, 1] ** 2).sum(1)))
        table = [gradient.reshape(-1, 6), start, steep[:, None]]
        return np.ascontiguousarray(np.concatenate(table, 1).T, np.float32)


class Shader:
    """
    Colour samples of one street.

    :param layout: layout of the street.
    :param appearance: light and weather.
    :param atlas: textures.
    :param rng: decides the clouds.
    """

    def __init__(self, layout: Layout, appearance: Appearance, atlas: textures.Atlas,
                 rng: np.random.Generator) -> None:
        self.layout = layout
        self.appearance = appearance
        self.atlas = atlas

        # Noise above a level is cloud; as the level is a quantile, clouds take their share.
        clouds = textures.noise(rng, 512, 1.5) + 0.15 * textures.noise(rng, 512, 0.8)
        level = np.quantile(clouds, 1 - appearance.cover) if appearance.cover > 0 else 9.0
        cover = np.clip((clouds - level) * 1.3, 0, 1)
        self.clouds = np.rint(np.pad(cover, ((0, 1), (0, 1)), 'wrap') * 255).astype(np.uint8)

    def shade(self, scene: Scene, x: Floats, y: Floats, face: Ints, depth: Floats) -> Floats:
        """
        Return the linear colour of samples.

        :param x: (N,) float32 pixel columns.
        :param y: (N,) float32 pixel rows.
        :param face: (N,) SKY, GROUND or number of the face + 1.
        :param depth: (N,) float32 metres along z; anything for the sky.
        :return: (3, N) float32.
        """
        colour = np.empty((3, len(x)), np.float32)
        for start in range(0, len(x), BLOCK):
            block = slice(start, start + BLOCK)
            self._shade(scene, x[block], y[block], face[block], depth[block], colour[:, block])
        return colour

    def _shade(self, scene: Scene, x: Floats, y: Floats, face: Ints, depth: Floats,
               colour: Floats) -> None:
        """Write the linear colours of a block of samples into ``colour``, (3, N)."""
        view = scene.view
        appearance = self.appearance

        # The ray of each sample in the world, R ((u - cx) / f, (v - cy) / f, 1)
        rotation = view.rotation.astype(np.float32)
        across = (x - (view.width - 1) / 2) / view.focal
        down = (y - (view.height - 1) / 2) / view.focal
        ray = [rotation[i, 0] * across + rotation[i, 1] * down + rotation[i, 2] for i in range(3)]

        above = face == SKY
        sky = np.flatnonzero(above)
        floor = np.flatnonzero(face == GROUND)
        solid = np.flatnonzero(face > GROUND)

        if len(sky):
            _put(colour, sky, self._sky(*(value[sky] for value in ray)))
        if len(floor):
            column, row = (np.clip(np.rint(value[floor]), 0, limit - 1).astype(np.int64)
                           for value, limit in ((x, view.width), (y, view.height)))
            _put(colour, floor, self._ground(scene, ray[0][floor], ray[2][floor], depth[floor],
                                             scene.shadow[row, column]))
        if len(solid):
            _put(colour, solid, self._faces(scene, [value[solid] for value in ray],
                                            face[solid] - 1, depth[solid]))

        far = np.where(above, np.float32(0), depth)
        if appearance.weather == 'night':
            # Headlights: the beam fades with distance and to the sides.
            beam = 3.0 * np.exp(-far / 16) * np.exp(-(across / 0.45) ** 2)
            colour *= 1 + beam * ~above

        # Haze by the law of Beer and Lambert: haze + (colour - haze) * exp(-extinction * depth)
        through = np.exp(-np.float32(appearance.haze) * far)
        for plane, haze in zip(colour, appearance.horizon.astype(np.float32), strict=True):
            plane -= haze
            plane *= through
            plane += haze

    def _sky(self, rx: Floats, ry: Floats, rz: Floats) -> list[Floats]:
        """Return the colour of the sky along rays in the world."""
        appearance = self.appearance
        length = np.sqrt(rx * rx + ry * ry + rz * rz)
        up = np.clip(-ry / length, 0.0, 1)
        share = 1 - np.exp(up * np.float32(-3.2))

        # Clouds are texture on a flat layer; 0.12 keeps them from shrinking to nothing at the
        # horizon.
        flat = 70.0 / (up + 0.12) / length
        size = np.float32(self.clouds.shape[0] - 1)
        u = rx * flat / size
        v = rz * flat / size
        grid = _grid((u - np.floor(u)) * size, (v - np.floor(v)) * size)
        cover = cv2.remap(self.clouds, *grid, cv2.INTER_LINEAR).ravel()[:len(rx)]
        cover = cover.astype(np.float32) * np.clip(up * 9, 0, 1) / 255

        # A glow of cos^24 of the angle to the sun, and its bright disc
        glare = None
        if appearance.weather in ('clear', 'hazy', 'dusk'):
            sun = appearance.sun.astype(np.float32)
            near = np.clip((rx * sun[0] + ry * sun[1] + rz * sun[2]) / length, 0, 1)
            eighth = np.square(np.square(np.square(near)))
            glare = np.float32(0.6) * eighth * eighth * eighth
            disc = np.flatnonzero(near > 0.985)
            glare[disc] += 3 * near[disc] ** 700

        planes = []
        for low, high, cloud, warm in zip(
                appearance.horizon.astype(np.float32), appearance.zenith.astype(np.float32),
                appearance.cloud.astype(np.float32), np.array([1.0, 0.9, 0.7], np.float32),
                strict=True):
            plane = low + (high - low) * share
            plane += (cloud - plane) * cover
            planes.append(plane if glare is None else plane + glare * warm)
        return planes

    def _ground(self, scene: Scene, rx: Floats, rz: Floats, depth: Floats,
                shadow: NDArray[np.uint8]) -> list[Floats]:
        """Return the colour of the ground at samples, from the painted map."""
        view = scene.view
        window = scene.window
        appearance = self.appearance

        # The point C + depth * ray of each sample, as row and column of the map
        z = view.position[2] + rz.astype(np.float64) * depth
        d = view.position[0] + rx.astype(np.float64) * depth - self.layout.bend(z)
        row = ((z - window.start) / ground.CELL).astype(np.float32)
        column = ((d + ground.REACH) / ground.CELL).astype(np.float32)

        # Mip level by the cells that a pixel spans: depth / f across, and more along the ray,
        # which meets the ground at a slant of height over depth (their geometric mean).
        span = depth / view.focal / ground.CELL
        span = span * np.sqrt(np.maximum(depth / max(-float(view.position[1]), 0.1), 1))
        level = np.clip(_power(span * np.float32(2 ** 0.8)), 0, ground.LEVELS - 1)
        scale = _HALVES.take(level)
        left = window.left.astype(np.float32).take(level)
        u = left + np.clip(column * scale - 0.5, 0, ground.COLUMNS * scale - 1)
        v = np.clip(row * scale - 0.5, 0, len(window.label) * scale - 1)
        texel = cv2.remap(window.atlas, *_grid(u, v), cv2.INTER_LINEAR)

        facing = max(-float(appearance.sun[1]), 0.0)
        light = (appearance.ambient + appearance.sunlight * facing).astype(np.float32)
        dark = 1 - shadow.astype(np.float32) / 255
        return [plane * factor * dark
                for plane, factor in zip(_decode(texel, len(u)), light, strict=True)]

    def _faces(self, scene: Scene, ray: list[Floats], face: Ints, depth: Floats) -> list[Floats]:
        """Return the colour of faces at samples: light, texture, and what they mirror."""
        mesh = scene.mesh
        view = scene.view
        appearance = self.appearance
        colour = [plane.take(face) for plane in scene.planes]
        texture = mesh.texture.take(face)
        pick = np.flatnonzero(texture >= 0)
        if len(pick):
            texels = self._texels(scene, [value[pick] for value in ray], face[pick],
                                  depth[pick], texture[pick])
            for plane, texel in zip(colour, texels, strict=True):
                plane[pick] *= texel

        # Near the ground there is less light: 28 % less at the bottom, nothing above 1.2 m.
        height = -(float(view.position[1]) + ray[1] * depth)
        low = 0.72 + 0.28 * np.clip(height / 1.2, 0, 1)
        for plane in colour:
            plane *= low

        gloss = mesh.gloss.take(face)
        pick = np.flatnonzero(gloss > 0)
        if len(pick):
            shown = face[pick]
            nx, ny, nz = (plane.take(shown) for plane in scene.normal)
            rx, ry, rz = (value[pick] for value in ray)

            # The mirrored ray is r - 2 (r . n) n. More is mirrored at grazing angles, as in
            # Schlick's approximation but with the fourth power.
            length = np.sqrt(rx * rx + ry * ry + rz * rz)
            along = (rx * nx + ry * ny + rz * nz) / length
            up = -(ry / length - 2 * along * ny)
            glossy = gloss[pick]
            edge = glossy + (1 - glossy) * 0.7 * np.square(np.square(1 - np.abs(along)))

            # Upwards it meets the horizon's light, downwards the dark ground.
            share = np.clip(up * 2.5 + 0.25, 0, 1)
            for plane, high, below in zip(
                    colour, (appearance.horizon * 0.8).astype(np.float32),
                    (appearance.ambient * 0.16).astype(np.float32), strict=True):
                own = plane[pick]
                plane[pick] = own + (below + (high - below) * share - own) * edge
        return colour

    def _texels(self, scene: Scene, ray: list[Floats], face: Ints, depth: Floats,
                texture: NDArray[np.int16]) -> list[Floats]:
        """Look up the textures of faces and return three planes of factors."""
        ux, uy, uz, vx, vy, vz, u0, v0, steep = (plane.take(face) for plane in scene.surface)

        # u and v are those at the camera + gradient . ray * depth; v points down in the atlas.
        u = (ux * ray[0] + uy * ray[1] + uz * ray[2]) * depth + u0
        v = 1 - ((vx * ray[0] + vy * ray[1] + vz * ray[2]) * depth + v0)

        # Mip level by the texels that a pixel spans, more where the face is seen at a slant
        nx, ny, nz = (plane.take(face) for plane in scene.normal)
        facing = np.abs(nx * ray[0] + ny * ray[1] + nz * ray[2])
        span = depth * steep * np.float32(textures.TILE / scene.view.focal)
        span = span / np.sqrt(np.clip(facing, 0.08, 1))
        level = np.clip(_power(span * np.float32(2 ** 0.3)), 0, textures.LEVELS - 1)

        # Walls repeat their tile; leaves and signs have only one.
        size = textures.TILE * _HALVES.take(level)
        wraps = ~textures.holed(texture)
        u, v = (np.where(wraps, value - np.floor(value), np.clip(value, 0, 1)) for value in (u, v))

        left = textures.PAD - 0.5 + texture.astype(np.float32) * (textures.TILE + 2 * textures.PAD)
        top = (self.atlas.top - 0.5).astype(np.float32).take(level)
        texel = cv2.remap(self.atlas.colour, *_grid(left + u * size, top + v * size),
                          cv2.INTER_LINEAR)
        return _decode(texel, len(u))


_HALVES = np.ldexp(np.float32(1), -np.arange(12)).astype(np.float32)
"""2^-n, the size of mip level n as a share of the full one."""


def _power(value: Floats) -> NDArray[np.int64]:
    """Return floor(log2(value)) of positive values."""
    # A float32 has its exponent in bits 23 to 30, with 127 added.
    exponent = np.asarray(value, np.float32).view(np.int32) >> 23
    return (exponent - 127).astype(np.int64)


def _put(colour: Floats, where: Ints, planes: list[Floats]) -> None:
    """Write three planes to some samples of a colour, (3, N)."""
    for target, plane in zip(colour, planes, strict=True):
        target[where] = plane


def _grid(u: Array | Floats, v: Array | Floats) -> tuple[Floats, Floats]:
    """Return two lists of coordinates as maps of 256 columns, for ``cv2.remap``."""
    rows = -(-len(u) // 256)
    grids = np.zeros((2, rows * 256), np.float32)
    grids[0, :len(u)] = u
    grids[1, :len(v)] = v
    return grids[0].reshape(rows, 256), grids[1].reshape(rows, 256)


def _decode(texel: Any, count: int) -> list[Floats]:
    """Return the first ``count`` texels as three planes; they hold square roots, 255 = 1."""
    planes = []
    for plane in cv2.split(texel):
        value = plane.ravel()[:count].astype(np.float32)
        value *= value * np.float32(1 / 65025)
        planes.append(value)
    return planes
