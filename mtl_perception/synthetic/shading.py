# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Colour of samples whose face and distance are known: light, texture, gloss, haze, sky."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.synthetic import ground, textures
from mtl_perception.synthetic.look import Look
from mtl_perception.synthetic.mesh import Array, Mesh
from mtl_perception.synthetic.plan import Plan
from mtl_perception.synthetic.raster import View

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
SKY, GROUND = -1, 0


def lit(mesh: Mesh, look: Look) -> Floats:
    """Return (F, 3) float32: the light that each face of a mesh sends to the camera, linear."""
    up = -mesh.normal[:, 1:2]
    facing = np.clip(mesh.normal @ look.sun, 0, None)[:, None]
    leaf = (mesh.texture >= textures.LEAF) & (mesh.texture < textures.SIGN)
    facing[leaf] = 0.35 + 0.3 * np.abs(mesh.normal[leaf] @ look.sun)[:, None]
    light = look.ambient * (0.70 + 0.30 * up) + look.sunlight * facing
    return np.asarray(mesh.colour * (light + mesh.glow[:, None]), np.float32)


@dataclass(frozen=True, eq=False)
class Scene:
    """
    What one frame shows.

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


class Shader:
    """
    Colour samples of one street.

    :param plan: lay-out of the street.
    :param look: light and weather.
    :param atlas: textures.
    :param rng: decides the clouds.
    """

    def __init__(self, plan: Plan, look: Look, atlas: textures.Atlas,
                 rng: np.random.Generator) -> None:
        self.plan, self.look, self.atlas = plan, look, atlas
        clouds = textures.noise(rng, 512, 1.5) + 0.15 * textures.noise(rng, 512, 0.8)
        level = np.quantile(clouds, 1 - look.cover) if look.cover > 0 else 9.0
        cover = np.clip((clouds - level) * 1.3, 0, 1)
        self.clouds = np.rint(np.pad(cover, ((0, 1), (0, 1)), 'wrap') * 255).astype(np.uint8)

    def shade(self, scene: Scene, x: Floats, y: Floats, face: Ints, depth: Floats) -> Floats:
        """
        Return the linear colour of samples.

        :param x: (N,) float32 pixel columns.
        :param y: (N,) float32 pixel rows.
        :param face: (N,) SKY, GROUND or number of the face + 1.
        :param depth: (N,) float32 metres along z; anything for the sky.
        :return: (N, 3) float32.
        """
        view, look = scene.view, self.look
        rotation = view.rotation.astype(np.float32)
        across = (x - (view.width - 1) / 2) / view.focal
        down = (y - (view.height - 1) / 2) / view.focal
        ray = [rotation[i, 0] * across + rotation[i, 1] * down + rotation[i, 2] for i in range(3)]
        colour = np.empty((len(x), 3), np.float32)
        sky = np.flatnonzero(face == SKY)
        if len(sky):
            colour[sky] = self._sky(*(value[sky] for value in ray))
        floor = np.flatnonzero(face == GROUND)
        if len(floor):
            column, row = (np.clip(np.rint(value[floor]), 0, limit - 1).astype(np.int64)
                           for value, limit in ((x, view.width), (y, view.height)))
            colour[floor] = self._ground(scene, ray[0][floor], ray[2][floor], depth[floor],
                                         scene.shadow[row, column])
        solid = np.flatnonzero(face > GROUND)
        if len(solid):
            colour[solid] = self._faces(scene, [value[solid] for value in ray],
                                        face[solid] - 1, depth[solid])
        far = np.where(face == SKY, np.float32(0), depth)
        if look.weather == 'night':
            beam = 3.0 * np.exp(-far / 16) * np.exp(-(across / 0.45) ** 2) * (face != SKY)
            colour *= (1 + beam)[:, None]
        haze = look.horizon.astype(np.float32)
        colour -= haze
        colour *= np.exp(-np.float32(look.haze) * far)[:, None]
        colour += haze
        return colour

    def _sky(self, rx: Floats, ry: Floats, rz: Floats) -> Floats:
        look = self.look
        length = np.sqrt(rx * rx + ry * ry + rz * rz)
        up = np.clip(-ry / length, 0.0, 1)
        share = (1 - np.exp(-up * 3.2))[:, None].astype(np.float32)
        colour = look.horizon.astype(np.float32) * (1 - share) + look.zenith.astype(
            np.float32) * share
        flat = 70.0 / (up + 0.12)
        u, v = rx / length * flat, rz / length * flat
        size = self.clouds.shape[0] - 1
        grid = _grid(np.mod(u, size), np.mod(v, size))
        cover = cv2.remap(self.clouds, *grid, cv2.INTER_LINEAR).ravel()[:len(rx)]
        cover = cover.astype(np.float32)[:, None] * np.clip(up * 9, 0, 1)[:, None] / 255
        colour += (look.cloud.astype(np.float32) - colour) * cover
        if look.weather in ('clear', 'hazy', 'dusk'):
            sun = look.sun.astype(np.float32)
            near = np.clip((rx * sun[0] + ry * sun[1] + rz * sun[2]) / length, 0, 1)
            glare = 0.6 * near ** 24 + 3.0 * near ** 700
            colour += glare[:, None] * np.array([1.0, 0.9, 0.7], np.float32)
        return np.asarray(colour, np.float32)

    def _ground(self, scene: Scene, rx: Floats, rz: Floats, depth: Floats,
                shadow: NDArray[np.uint8]) -> Floats:
        view, look, window = scene.view, self.look, scene.window
        z = view.position[2] + rz.astype(np.float64) * depth
        d = view.position[0] + rx.astype(np.float64) * depth - self.plan.bend(z)
        row = ((z - window.start) / ground.CELL).astype(np.float32)
        column = ((d + ground.REACH) / ground.CELL).astype(np.float32)
        span = depth / view.focal / ground.CELL
        span = span * np.sqrt(np.maximum(depth / max(-float(view.position[1]), 0.1), 1))
        level = np.clip(np.log2(np.maximum(span, 1e-3)) + 0.3, 0, ground.LEVELS - 1)
        level = np.rint(level).astype(np.int64)
        scale = np.ldexp(np.float32(1), -level).astype(np.float32)
        left = window.left.astype(np.float32)[level]
        u = left + np.clip(column * scale - 0.5, 0, ground.COLUMNS * scale - 1)
        v = np.clip(row * scale - 0.5, 0, len(window.label) * scale - 1)
        texel = cv2.remap(window.atlas, *_grid(u, v), cv2.INTER_LINEAR).reshape(-1, 3)[:len(u)]
        colour = _decode(texel)
        light = (look.ambient + look.sunlight * max(-float(look.sun[1]), 0.0)).astype(np.float32)
        dark = (1 - shadow.astype(np.float32) / 255)[:, None]
        return np.asarray(colour * light * dark, np.float32)

    def _faces(self, scene: Scene, ray: list[Floats], face: Ints, depth: Floats) -> Floats:
        mesh, view, look = scene.mesh, scene.view, self.look
        colour = scene.light[face]
        texture = mesh.texture[face]
        pick = np.flatnonzero(texture >= 0)
        if len(pick):
            colour[pick] *= self._texels(scene, [value[pick] for value in ray], face[pick],
                                         depth[pick], texture[pick])
        height = -(float(view.position[1]) + ray[1] * depth)
        colour *= (0.72 + 0.28 * np.clip(height / 1.2, 0, 1))[:, None]
        gloss = mesh.gloss[face]
        pick = np.flatnonzero(gloss > 0)
        if len(pick):
            normal = mesh.normal.astype(np.float32)[face[pick]]
            rx, ry, rz = (value[pick] for value in ray)
            length = np.sqrt(rx * rx + ry * ry + rz * rz)
            along = (rx * normal[:, 0] + ry * normal[:, 1] + rz * normal[:, 2]) / length
            up = -(ry / length - 2 * along * normal[:, 1])
            edge = gloss[pick] + (1 - gloss[pick]) * 0.7 * (1 - np.abs(along)) ** 4
            share = np.clip(up * 2.5 + 0.25, 0, 1)[:, None]
            street = (0.16 * look.ambient).astype(np.float32)
            seen = look.horizon.astype(np.float32) * 0.8 * share + street * (1 - share)
            colour[pick] = colour[pick] * (1 - edge)[:, None] + seen * edge[:, None]
        return colour

    def _texels(self, scene: Scene, ray: list[Floats], face: Ints, depth: Floats,
                texture: NDArray[np.int16]) -> Floats:
        """Look the textures of faces up and return (N, 3) float32 factors."""
        mesh, view = scene.mesh, scene.view
        used, where = np.unique(face, return_inverse=True)
        mapping = mesh.mapping[used]
        start = mapping[..., 3] + (mapping[..., :3] * view.position).sum(-1)
        wraps = (mesh.texture[used] < textures.LEAF)[:, None]
        gradient, start = mapping[..., :3].astype(np.float32), start - wraps * np.floor(start)
        uv = []
        for axis in range(2):
            part = gradient[:, axis]
            along = sum(part[:, i][where] * ray[i] for i in range(3))
            uv.append(along * depth + start[:, axis].astype(np.float32)[where])
        holed = texture >= textures.LEAF
        steep = np.sqrt((gradient[:, 0] ** 2).sum(1) * (gradient[:, 1] ** 2).sum(1)) ** 0.5
        span = depth / view.focal * textures.TILE * steep.astype(np.float32)[where]
        normal = mesh.normal.astype(np.float32)[used]
        facing = np.abs(sum(normal[:, i][where] * ray[i] for i in range(3)))
        span = span / np.sqrt(np.clip(facing, 0.08, 1))
        level = np.clip(np.rint(np.log2(np.maximum(span, 1e-3)) - 0.2), 0, textures.LEVELS - 1)
        level = level.astype(np.int64)
        size = (textures.TILE >> level).astype(np.float32)
        u, v = uv[0], 1 - uv[1]
        u, v = (np.where(holed, np.clip(value, 0, 1), np.mod(value, 1)) for value in (u, v))
        left = textures.PAD + texture.astype(np.float32) * (textures.TILE + 2 * textures.PAD)
        top = self.atlas.top.astype(np.float32)[level]
        grid = _grid(left + u * size - 0.5, top + v * size - 0.5)
        texel = cv2.remap(self.atlas.colour, *grid, cv2.INTER_LINEAR).reshape(-1, 3)[:len(u)]
        return _decode(texel)


def _grid(u: Array | Floats, v: Array | Floats) -> tuple[Floats, Floats]:
    """Return two lists of coordinates as maps of 256 columns, for ``cv2.remap``."""
    rows = -(-len(u) // 256)
    grids = np.zeros((2, rows * 256), np.float32)
    grids[0, :len(u)], grids[1, :len(v)] = u, v
    return grids[0].reshape(rows, 256), grids[1].reshape(rows, 256)


_SQUARE = ((np.arange(256) / 255) ** 2).astype(np.float32)


def _decode(texel: NDArray[Any]) -> Floats:
    """Return what a texel stands for: its square, 255 = 1."""
    return np.asarray(_SQUARE[np.asarray(texel, np.uint8)])
