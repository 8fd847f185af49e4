# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which topics of a recording are the images of the camera and its calibration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from mtl_perception import topics
from mtl_perception.errors import DataError
from mtl_perception.name_checks import nearest_hint
from mtl_perception.reason_codes import ReasonCode

IMAGE_KINDS = (topics.IMAGE_TYPE, topics.COMPRESSED_IMAGE_TYPE)
PACKED = '/compressed'
_NOT_CAMERAS = tuple(
    f'/{topic.name}' for topic in (*topics.OUTPUTS, *topics.VIEWS, *topics.TRUTH.values()))


@dataclass(frozen=True)
class CameraTopics:
    """
    The topics of one camera.

    :param image: of its images, raw or compressed.
    :param info: of its calibration.
    :param remarks: what was taken although nobody named it, in sentences.
    """

    image: str
    info: str
    remarks: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, str]:
        """The names that the images may have, raw and compressed."""
        raw = self.image.removesuffix(PACKED)
        return raw, raw + PACKED


def camera_topics(
        kinds: Mapping[str, str], counts: Mapping[str, int], namespace: str = '',
        image: str = '', info: str = '') -> CameraTopics:
    """
    Return the topics of the camera of a recording.

    Those that are named count, else those of the node's own names. Where there is no such image
    topic, the only one that is not an output of the node is taken; its calibration stands beside
    it, or is the only one.

    :param kinds: topic -> type of its messages.
    :param counts: topic -> how many messages it has.
    :param namespace: of the camera, empty for none.
    :param image: name of the image topic, empty for none.
    :param info: name of the calibration topic, empty for none.
    :raises DataError: ``B03``, if there is no topic of a name that is given.
    """
    for option, name in (('--image-topic', image), ('--camera-info-topic', info)):
        if name and _absolute(name) not in kinds:
            raise DataError(
                f'{option} {name}: the recording has no such topic'
                f'{nearest_hint(_absolute(name), kinds, 3)}; it has {", ".join(sorted(kinds))}',
                ReasonCode.BAG_TOPIC_MISSING)

    # The images: those that are named, the node's own, or the only ones.
    remarks = []
    chosen = _absolute(image) if image else _own_image(counts, namespace)
    if not counts.get(chosen) and not image:
        others = other_images(kinds, counts, namespace)
        if len(others) == 1:
            chosen = others[0]
            remarks.append(f'the images are those of {chosen}, the only image topic')

    # Drivers publish the calibration beside the image.
    beside = topics.CAMERA_INFO.below(namespace)
    if chosen not in _own_names(namespace):
        parent = PurePosixPath(chosen.removesuffix(PACKED)).parent
        beside = str(parent / topics.CAMERA_INFO.name)

    found = _absolute(info) if info else beside
    if not counts.get(found) and not info:
        others = [name for name, kind in kinds.items()
                  if kind == topics.CAMERA_INFO_TYPE and counts.get(name)
                  and not name.endswith(_NOT_CAMERAS)]
        if len(others) == 1:
            found = others[0]
            remarks.append(f'the calibration is that of {found}, the only one')
    return CameraTopics(chosen, found, tuple(remarks))


def other_images(
        kinds: Mapping[str, str], counts: Mapping[str, int], namespace: str = '') -> list[str]:
    """
    Return the image topics that may be a camera's, the raw one of each pair.

    :param kinds: topic -> type of its messages.
    :param counts: topic -> how many messages it has.
    :param namespace: only topics below it, if there are any.
    """
    found = [name for name, kind in sorted(kinds.items())
             if kind in IMAGE_KINDS and counts.get(name)
             and not name.removesuffix(PACKED).endswith(_NOT_CAMERAS)]
    found = [name for name in found
             if not (name.endswith(PACKED) and name.removesuffix(PACKED) in found)]
    below = [name for name in found if name.startswith(f'{_absolute(namespace)}/')]
    return below if namespace and below else found


def missing_image(wanted: str, kinds: Mapping[str, str], counts: Mapping[str, int]) -> str:
    """Return what to do where the image topic has no message, for the end of a message."""
    others = other_images(kinds, counts)
    if not others:
        return '; it has no images of a camera'
    first = [*nearest(wanted, others), *others][0]
    return (f'; did you mean {" or ".join(map(repr, others))}? Say so with --image-topic {first}')


def missing_output(wanted: str, names: Sequence[str]) -> str:
    """Return what to do where an output of the node is missing, for the end of a message."""
    for name in names:
        if name.endswith(wanted):
            return (f'; did you mean {name!r}? Say so with --namespace '
                    f'{name.removesuffix(wanted).strip("/")}')
    return nearest_hint(wanted, names, 3)


def nearest(wanted: str, names: Sequence[str]) -> list[str]:
    """Return the names that end as a wanted one does."""
    return [name for name in names if name.endswith(wanted.rpartition('/')[2])]


def _own_names(namespace: str) -> tuple[str, str]:
    """Return the names that the node's images have, raw and compressed."""
    return topics.IMAGE.below(namespace), topics.COMPRESSED_IMAGE.below(namespace)


def _own_image(counts: Mapping[str, int], namespace: str) -> str:
    """Return the name of the node's images; the compressed ones where there is no raw one."""
    raw, packed = _own_names(namespace)
    return packed if counts.get(packed) and not counts.get(raw) else raw


def _absolute(name: str) -> str:
    return f'/{name.strip("/")}'
