# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A drive along a procedural street; every frame has exact labels."""

from collections import OrderedDict
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.synthetic import ground, shadows, textures
from mtl_perception.synthetic.catalogue import Catalogue
from mtl_perception.synthetic.layout import CHUNK
from mtl_perception.synthetic.looks import KITS
from mtl_perception.synthetic.mesh import Array, Mesh, join
from mtl_perception.synthetic.raster import FACE_BITS, Projected, View, facing, project, scan
from mtl_perception.synthetic.shading import GROUND, SKY, Floats, Scene, Shader, lit
from mtl_perception.synthetic.street_frame import Box, StreetFrame
from mtl_perception.synthetic.town import Site
from mtl_perception.synthetic.traffic import Actor
from mtl_perception.tasks import LOOKS, STREET_SEMANTIC

CLASS_OF = {kind: STREET_SEMANTIC.classes.index(kind) for kind in ('car', 'person', 'cyclist')}
SKY_CLASS = STREET_SEMANTIC.sky
BEHIND = 14.0
AHEAD = 185.0
"""The street is drawn from ``BEHIND`` the camera to ``AHEAD`` of it, metres along z."""
ACTORS_AHEAD = 110.0
"""Cars, people and cyclists are drawn up to here, metres along z."""
CAMERA_HEIGHTS = (1.4, 1.6)
"""
Range from which a seed draws its camera's height, metres.

One image does not tell the scale of the world: a camera 10 % higher in a world 10 % larger gives
the same image. A network therefore learns the scale from the height that it was trained at, and
a range of heights is an error of its depth that no training removes.
"""
GROUND_END = 400.0
"""Ground farther than this along the camera's axis is drawn as sky, metres."""


@dataclass(frozen=True, eq=False)
class _Around:
    """The street around the camera: chunks, faces, their light, centres, radii, the ground."""

    span: tuple[int, int]
    mesh: Mesh
    light: Floats
    centre: Array
    radius: Array
    window: ground.Window


class Street:
    """
    A camera that drives along an endless street.

    A frame depends on the arguments and its index only, so frames can be rendered in any order.

    :param seed: number of the street, not negative.
    :param width: of the image, pixels.
    :param height: of the image, pixels.
    :param rate: frames per second.
    :param antialias: smooth the edges in the colour image; it does not change the labels.
    :param camera_height: of the camera above the ground, metres; drawn by the seed if None.
    :param look: ``classic``, or ``roads`` with fences and what else real roads show.
    :raises TypeError: if the seed or the size is not a whole number.
    :raises ValueError: if a value is out of range.
    """

    def __init__(self, seed: int, width: int = 384, height: int = 224, rate: float = 10.0,
                 antialias: bool = True, camera_height: float | None = None,
                 look: str = LOOKS[0]) -> None:
        for name, value in (('seed', seed), ('width', width), ('height', height)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise TypeError(f'{name} of a street must be a whole number, not {value!r}')

        if seed < 0:
            raise ValueError(f'seed of a street must not be negative, got {seed}')
        if not (8 <= width <= 8192 and 8 <= height <= 8192):
            raise ValueError(f'size of a street must be 8 to 8192 pixels each way, got '
                             f'width {width} and height {height}')
        if not 0 < rate < 10_000:
            raise ValueError(f'rate of a street must be above 0 and below 10000 Hz, got {rate}')
        if camera_height is not None and not 0.3 <= camera_height <= 3.0:
            raise ValueError('camera_height of a street must be 0.3 to 3.0 m, got '
                             f'{camera_height}')

        if look not in LOOKS:
            raise ValueError(f'look of a street must be one of {list(LOOKS)}, got {look!r}')

        kit = KITS[look]
        self.look = look
        self.seed = int(seed)
        self.width = int(width)
        self.height = int(height)
        self.rate = float(rate)
        self.antialias = bool(antialias)
        self.focal_px = 0.6 * self.width
        self.layout = kit.layout(self.seed)

        # The order of the draws is part of the street: a new one in between changes all seeds.
        rng = np.random.default_rng([self.seed, 20])
        self.appearance = kit.light(rng)
        drawn = float(rng.uniform(*CAMERA_HEIGHTS))
        self.camera_height = drawn if camera_height is None else float(camera_height)

        # The camera's tilt, and how the car bounces: amplitudes, speeds, phases
        self._pitch = float(np.radians(rng.uniform(-2, 2)))
        self._pitch, self._roll = kit.tilt(self.seed, self._pitch)
        size = rng.uniform(0, 0.004, 3)
        speed = rng.uniform(0.5, 2.0, 3)
        self._bounce = size, speed, rng.uniform(0, 6.3, 3)

        self._atlas = kit.atlas(rng)
        self._painter = kit.painter(self.layout, rng)
        self._shader = Shader(self.layout, self.appearance, self._atlas, rng)
        self._lens = kit.lens(self.appearance, self.width, self.height, self.seed)
        self._town = kit.town(self.layout, self.appearance.lights)
        self._traffic = kit.traffic(self.layout)
        self._catalogue = Catalogue(self.seed, self.appearance.lights, kit.car)

        # Parts of the street that were built already, by chunk
        self._sites: OrderedDict[int, Site] = OrderedDict()
        self._stretches: OrderedDict[int, ground.Stretch] = OrderedDict()
        self._around: _Around | None = None

        # Column and row of each pixel
        y, x = np.mgrid[0:self.height, 0:self.width]
        self._x = x.ravel().astype(np.float64)
        self._y = y.ravel().astype(np.float64)

    @property
    def intrinsics(self) -> Array:
        """Return (3, 3) float64 with the principal point in the middle of the image."""
        return np.array([[self.focal_px, 0, (self.width - 1) / 2],
                         [0, self.focal_px, (self.height - 1) / 2], [0, 0, 1.0]])

    def pose(self, index: int) -> Array:
        """Return the pose of the camera in frame ``index``, (4, 4) float64, camera to world."""
        time = index / self.rate
        z = self._traffic.drive.way(time)
        size, speed, start = self._bounce

        # Along the road, the car sways across its lane; it turns by the slope of the sway.
        sway = 0.22 * np.sin(z / 17 + start[0]) + 0.1 * np.sin(z / 7.3 + start[1])
        turn = 0.22 / 17 * np.cos(z / 17 + start[0]) + 0.1 / 7.3 * np.cos(z / 7.3 + start[1])
        yaw = self.layout.heading(z) + turn

        # It also bounces on its springs: a little pitch, roll and height.
        wobble = size * np.sin(speed * (time + z / 3) + start)
        pitch = self._pitch + wobble[0]
        roll = self._roll + wobble[1]

        # R = R_y(yaw) R_x(pitch) R_z(roll), camera to world
        cy, sy = np.cos(yaw), np.sin(yaw)
        cp, sp = np.cos(pitch), np.sin(pitch)
        cr, sr = np.cos(roll), np.sin(roll)
        about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1.0]])

        pose = np.eye(4)
        pose[:3, :3] = _times(_times(about_y, about_x), about_z)
        pose[:3, 3] = [self.layout.middle(z) + self.layout.camera_d + sway,
                       -self.camera_height + 2 * wobble[2], z]
        return pose

    def velocities(self, index: int) -> dict[int, Array]:
        """
        Return instance id -> velocity over the world in frame ``index``, m/s.

        :return: of all that can move, (3,) float64 in the axes of the camera.
        """
        back = self.pose(index)[:3, :3].T
        found = self._traffic.velocities(index / self.rate, BEHIND, ACTORS_AHEAD)
        return {instance: back @ np.array([x, 0.0, z]) for instance, (x, z) in found.items()}

    def render(self, index: int) -> StreetFrame:
        """
        Return frame ``index``, taken at ``index / rate`` seconds.

        :raises TypeError: if the index is not a whole number.
        :raises ValueError: if the index is negative.
        """
        if isinstance(index, bool) or not isinstance(index, (int, np.integer)):
            raise TypeError(f'index of a frame must be a whole number, not {index!r}')
        if index < 0:
            raise ValueError(f'index of a frame must not be negative, got {index}')

        # Everything that may be in view: the street first, then the actors
        index = int(index)
        pose = self.pose(index)
        view = View(self.width, self.height, self.focal_px, pose[:3, :3], pose[:3, 3])
        around = self._surroundings(float(pose[2, 3]))
        window = around.window
        rows = facing(around.mesh, around.centre, around.radius, view)
        static = around.mesh.take(rows)
        static_light = around.light[rows]
        actors = self._visible(self._traffic.at(index / self.rate, BEHIND, ACTORS_AHEAD), view)
        moved, owner = self._catalogue.assemble(actors)

        mesh = join([static, moved])
        light = np.concatenate([static_light, lit(moved, self.appearance)])
        actor_of = np.concatenate([np.full(len(static), -1, np.int64), owner])

        # The face of each pixel. Plane 0 is the ground, plane f + 1 that of face f.
        holed = textures.holed(mesh.texture)
        floor = self._floor_plane(view)
        projected = project(mesh, view)
        planes = np.concatenate([floor[:, None], projected.plane], 1)
        keys = self._floor_keys(floor, self._x, self._y)
        scan(projected, mesh, view, self._atlas, keys, 0.0, holed)
        face, depth = _resolve(keys, planes, self._x, self._y)

        # Labels: first those of the faces, then ground and sky
        label_of = np.concatenate([np.zeros(1, np.uint8), mesh.label])
        known = np.maximum(face, 0)
        semantic = label_of.take(known)
        on_ground = np.flatnonzero(face == GROUND)
        semantic[on_ground] = self._ground_class(view, window, on_ground, depth[on_ground])
        semantic[face == SKY] = SKY_CLASS

        actor = np.concatenate([np.full(1, -1, np.int64), actor_of]).take(known)
        instance_of = np.array([0, *(one.instance for one in actors)], np.uint16)
        moving_of = np.array([0, *(one.moving for one in actors)], np.uint8)
        instance = instance_of.take(actor + 1)
        motion = moving_of.take(actor + 1)

        shape = (self.height, self.width)
        shade = shadows.image_shade(view, self.appearance, [
            (one.x, one.z, one.yaw, self._catalogue.size(one)) for one in actors])
        scene = Scene(mesh, light, window, view, shade)
        image = self._colour(scene, projected, planes, holed, floor, face, depth, index)
        return StreetFrame(
            image, semantic.reshape(shape), instance.reshape(shape), depth.reshape(shape),
            motion.reshape(shape), self._boxes(actor.reshape(shape), actors), self.intrinsics,
            pose, round(index * 1_000_000_000 / self.rate))

    def _visible(self, actors: list[Actor], view: View) -> list[Actor]:
        """Return the actors without those behind the camera or far outside of the picture."""
        kept = []
        slope = self.width / 2 / self.focal_px
        for actor in actors:
            x = actor.x - view.position[0]
            z = actor.z - view.position[2]
            right = view.rotation[0, 0] * x + view.rotation[2, 0] * z
            ahead = view.rotation[0, 2] * x + view.rotation[2, 2] * z
            if ahead > -7 and abs(right) < slope * ahead + 9:
                kept.append(actor)
        return kept

    def _surroundings(self, z: float) -> '_Around':
        """Return the street around z, cached while z stays within its chunk."""
        span = int((z - BEHIND) // CHUNK), int((z + AHEAD) // CHUNK)
        if self._around is None or self._around.span != span:
            chunks = range(span[0], span[1] + 1)
            mesh = join([self._site(chunk).mesh for chunk in chunks])
            window = ground.window([self._stretch(chunk) for chunk in chunks], span[0] * CHUNK)
            centre = mesh.corners.mean(1)
            reach = np.sqrt(((mesh.corners - centre[:, None]) ** 2).sum(-1).max(1)) + 1e-6
            self._around = _Around(span, mesh, lit(mesh, self.appearance), centre, reach, window)
        return self._around

    def _site(self, chunk: int) -> Site:
        """Return the objects of a chunk, built once."""
        if chunk not in self._sites:
            self._sites[chunk] = self._town.site(chunk)
            if len(self._sites) > 16:
                self._sites.popitem(last=False)
        return self._sites[chunk]

    def _stretch(self, chunk: int) -> ground.Stretch:
        """Return the ground of a chunk with its shadows, painted once."""
        if chunk not in self._stretches:
            sites = [self._site(number) for number in (chunk - 1, chunk, chunk + 1)]
            light = shadows.map_shade(self.layout, self.appearance, chunk, sites)
            plain = self._painter.paint(chunk)
            # Colours of the map are square roots of reflectance, and so is the light on them.
            self._stretches[chunk] = replace(plain, colour=np.rint(
                plain.colour * np.sqrt(light)[..., None]).astype(np.uint8))
            if len(self._stretches) > 12:
                self._stretches.popitem(last=False)
        return self._stretches[chunk]

    def _floor_plane(self, view: View) -> Array:
        """Return (3,) so that 1/z of the ground is its product with (column, row, 1)."""
        # A point C + z R r with the ray r = ((u - cx) / f, (v - cy) / f, 1) is on the ground y = 0
        # if C_y + z (R r)_y = 0, so 1/z = (R r)_y / -C_y, which is linear in the pixel (u, v).
        scaled = view.rotation[1] / -view.position[1]
        return np.array([scaled[0] / view.focal, scaled[1] / view.focal, scaled[2] - (
            scaled[0] * (self.width - 1) / 2 + scaled[1] * (self.height - 1) / 2) / view.focal])

    @staticmethod
    def _floor_keys(plane: Array, x: Array, y: Array) -> NDArray[np.int64]:
        """Return z-buffer keys (see :mod:`~mtl_perception.synthetic.raster`) of the ground."""
        inverse = plane[0] * x + plane[1] * y + plane[2]
        inverse[inverse < 1 / GROUND_END] = 0
        bits: NDArray[np.int64] = inverse.astype(np.float32).view(np.int32).astype(np.int64)
        return np.left_shift(bits, FACE_BITS)

    def _ground_class(self, view: View, window: ground.Window, pixel: NDArray[np.int64],
                      depth: Floats) -> NDArray[np.uint8]:
        """Return the class ids of pixels that show the ground, (N,) uint8."""
        # The point C + z R r of each pixel with the ray r
        across = (self._x[pixel] - (self.width - 1) / 2) / view.focal
        down = (self._y[pixel] - (self.height - 1) / 2) / view.focal
        far = depth.astype(np.float64)
        x, z = (view.position[i] + far * (view.rotation[i, 0] * across
                                          + view.rotation[i, 1] * down + view.rotation[i, 2])
                for i in (0, 2))

        # Its cell of the map, whose columns follow the bends of the road
        column = (x - self.layout.bend(z) + ground.REACH) / ground.CELL
        row = (z - window.start) / ground.CELL
        column = np.clip(column, 0, ground.COLUMNS - 1).astype(np.int64)
        row = np.clip(row, 0, len(window.label) - 1).astype(np.int64)
        return np.asarray(window.label[row, column])

    def _colour(self, scene: Scene, projected: Projected, planes: Array, holed: NDArray[np.bool_],
                floor: Array, face: NDArray[np.int64], depth: Floats,
                index: int) -> NDArray[np.uint8]:
        """Return the image, (H, W, 3) uint8."""
        x = self._x.astype(np.float32)
        y = self._y.astype(np.float32)
        colour = self._shader.shade(scene, x, y, face, depth)
        if self.antialias:
            self._smooth(scene, projected, planes, holed, floor, face, colour)
        light = np.asarray(cv2.merge(list(colour.reshape(3, self.height, self.width))), np.float32)
        return self._lens.develop(light, index)

    def _smooth(self, scene: Scene, projected: Projected, planes: Array, holed: NDArray[np.bool_],
                floor: Array, face: NDArray[np.int64], colour: Floats) -> None:
        """Mix the colours at the four corners of a pixel into those pixels that hold an edge."""
        # The face at each corner of the pixels: samples half a pixel up and left, one more
        # column and row than there are pixels
        wide, high = self.width + 1, self.height + 1
        y, x = np.divmod(np.arange(wide * high), wide)
        column = x - 0.5
        row = y - 0.5
        keys = self._floor_keys(floor, column, row)
        scan(projected, scene.mesh, scene.view, self._atlas, keys, -0.5, holed)
        corner_face, corner_depth = _resolve(keys, planes, column, row)

        # An edge runs through a pixel if one of its corners shows another face than its centre.
        grid = corner_face.reshape(high, wide)
        middle = face.reshape(self.height, self.width)
        edge = np.zeros(middle.shape, bool)
        corners = [
            (slice(a, high - 1 + a), slice(b, wide - 1 + b)) for a in (0, 1) for b in (0, 1)]
        for corner in corners:
            edge |= grid[corner] != middle

        # Only corners of such pixels are shaded. 1.6 clips light that would outshine its edge.
        wanted = np.zeros((high, wide), bool)
        for corner in corners:
            wanted[corner] |= edge
        pick = np.flatnonzero(wanted)
        shaded = np.minimum(self._shader.shade(
            scene, column[pick].astype(np.float32), row[pick].astype(np.float32),
            corner_face[pick], corner_depth[pick]), 1.6)

        # Half the colour of the centre, an eighth of each corner's
        where = np.flatnonzero(edge)
        first = where + where // self.width  # the corner above and to the left of each pixel
        full = np.zeros(high * wide, np.float32)
        for plane, found in zip(colour, shaded, strict=True):
            full[pick] = found
            mixed = full[first] + full[first + 1] + full[first + wide] + full[first + wide + 1]
            plane[where] = np.minimum(plane[where], 1.6) * 0.5 + 0.125 * mixed

    @staticmethod
    def _boxes(actor: NDArray[np.int64], actors: list[Actor]) -> tuple[Box, ...]:
        """Return the boxes around the visible pixels of the actors."""
        where = np.flatnonzero(actor >= 0)
        found = actor.ravel()[where]
        extents = []
        for value in (where % actor.shape[1], where // actor.shape[1]):
            low = np.full(len(actors), 1 << 30)
            high = np.full(len(actors), -1)
            np.minimum.at(low, found, value)
            np.maximum.at(high, found, value)
            extents += [low.tolist(), high.tolist()]

        boxes = [Box(one.instance, CLASS_OF[one.kind], x_min, y_min, x_max, y_max, one.moving)
                 for one, x_min, x_max, y_min, y_max in zip(actors, *extents, strict=True)
                 if x_max >= 0]
        return tuple(sorted(boxes, key=lambda box: box.instance))


def _times(a: Array, b: Array) -> Array:
    """Return the product of two 3x3 matrices without BLAS, for the same bits everywhere."""
    return np.asarray((a[:, :, None] * b[None]).sum(1))


def _resolve(keys: NDArray[np.int64], planes: Array, x: Array,
             y: Array) -> tuple[NDArray[np.int64], Floats]:
    """Return the face (or SKY, GROUND) and the distance along z of each sample."""
    face = keys & ((1 << FACE_BITS) - 1)
    inverse = planes[0].take(face) * x + planes[1].take(face) * y + planes[2].take(face)
    sky = keys == 0

    face[sky] = SKY
    inverse[sky] = 1.0
    depth = (1.0 / inverse).astype(np.float32)
    depth[sky] = np.inf
    return face, depth
