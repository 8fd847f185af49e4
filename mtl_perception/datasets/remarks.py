# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What is worth knowing about the files of a data set although nothing is wrong with them."""

from mtl_perception.datasets.clips import RecordedClips
from mtl_perception.errors import DataError
from mtl_perception.media.listing import (
    counted,
    natural_order,
    order_remark,
    shortened,
    survey,
)
from mtl_perception.media.picture_headers import orientation_of
from mtl_perception.media.pictures import read_bytes


def remarks_of(data: RecordedClips) -> list[str]:
    """Return sentences about order, files left out, and images that are turned by EXIF data."""
    remarks = []
    images = [clip[-1] for clip in data.clips]
    if images == sorted(images, key=natural_order) and (remark := order_remark(images)):
        remarks.append(remark)

    # Files of other kinds beside the images.
    every = dict.fromkeys(path for clip in data.clips for path in clip)
    for folder in dict.fromkeys(path.parent for path in every):
        if names := [path.name for path in survey(folder).left_out]:
            remarks.append(
                f'{folder}: {counted(len(names), "file")} left out, no image by the suffix: '
                f'{shortened(names)}')

    # Labels are not turned, and for a square or mirrored image no size tells that they do not fit.
    turned = []
    for path in every:
        try:
            if orientation_of(read_bytes(path)) != 1:
                turned.append(str(path))
        except DataError:
            continue  # a problem of its own
    if turned:
        remarks.append(
            f'{counted(len(turned), "image")} turned or mirrored as the EXIF data say, labels are '
            f'not: see in the mosaic that they fit ({shortened(turned)})')
    return remarks
