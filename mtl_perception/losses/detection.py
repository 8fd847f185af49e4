# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Loss for boxes on a grid of anchors, as in YOLO."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import box_iou

from mtl_perception.losses.masking import precise
from mtl_perception.tasks import NO_BOX, NOT_LABELLED


class BoxLoss(nn.Module):
    r"""
    Position, shape, existence and class of boxes.

    A ground-truth box belongs to the cell of its centre and, there, to the anchor whose shape
    overlaps it most. With the anchor's output (t_x, t_y, t_w, t_h, t_o, classes), the cell's
    corner c and the anchor's size p, the box is at :math:`\sigma(t) + c` with the size
    :math:`p e^t` (Redmon and Farhadi, YOLO9000, CVPR 2017, section 2; the network of Leang et al.
    is "YOLO style"). The loss is the sum of

    - the squared error of :math:`\sigma(t_x), \sigma(t_y), t_w, t_h` of these anchors, times 5,
    - the binary cross-entropy of an object: 1 for these anchors, 0 for all others, times 0.5 (both
      weights: Redmon et al., You Only Look Once, CVPR 2016, equation 3). Anchors that are not the
      best but overlap a ground-truth box by more than half do not count (YOLOv3, 2018,
      section 2.1),
    - the cross-entropy of the class of these anchors,

    divided by the number of boxes, or of labelled images if that is larger. The division is a
    choice of ours: it brings the loss to the size of the other tasks'. Where two boxes claim one
    anchor of one cell, the larger one gets it, which is mostly the nearer.

    >>> loss = BoxLoss([[0.5, 0.5]], classes=2, stride=16)
    >>> nothing = torch.zeros(1, 0, 5)
    >>> round(float(loss(torch.zeros(1, 7, 2, 2), nothing)), 4)  # 4 empty anchors: 4 (0.5 ln 2)
    1.3863

    :param anchors: A (width, height), as fractions of the image's width and height.
    :param classes: number C of classes.
    :param stride: size of a cell, pixels.
    :param box_weight: factor of the squared errors.
    :param empty_weight: factor of anchors without an object.
    :param ignored_overlap: intersection over union above which an anchor without an object does
        not count.
    :raises ValueError: without anchors or classes, or for a stride below 1.
    """

    anchors: Tensor

    def __init__(
        self, anchors: Sequence[Sequence[float]], classes: int, stride: int,
        box_weight: float = 5.0, empty_weight: float = 0.5, ignored_overlap: float = 0.5,
    ) -> None:
        super().__init__()
        if not anchors or classes < 1 or stride < 1:
            raise ValueError(
                f'there are {len(anchors)} anchors, {classes} classes and a stride of {stride}; '
                'each must be at least 1')

        self.register_buffer('anchors', torch.tensor(anchors, dtype=torch.float64), False)
        self.classes = classes
        self.stride = stride
        self.box_weight = box_weight
        self.empty_weight = empty_weight
        self.ignored_overlap = ignored_overlap

    def forward(self, output: Tensor, target: Tensor) -> Tensor | None:
        """
        Return the 0-dimensional loss, None if no image has box labels.

        :param output: (N, A (5 + C), h, w) float, anchor after anchor.
        :param target: (N, M, 5) float, x_min, y_min, x_max, y_max in pixels and the class of each
            box; the class is -1 in a row of padding and -2 in every row of an image without box
            labels.
        :raises ValueError: if a class is not one of the C, or a box has no area.
        """
        labelled = (target[..., 4] != NOT_LABELLED).all(1)
        if not bool(labelled.any()):
            return None

        output = precise(output)
        count, _, height, width = output.shape
        predicted = output.view(count, len(self.anchors), 5 + self.classes, height, width)
        predicted = predicted.movedim(2, -1)  # (N, A, h, w, 5 + C)

        # which anchor of which cell each box belongs to, and where no box must be predicted
        image, boxes, classes = self._boxes(target, labelled)
        size = self.anchors * self.anchors.new_tensor([width, height])  # cells
        weight = self._empty_weights(image, boxes, labelled, size, (height, width)).to(output)
        image, anchor, row, column, true, classes = self._matched(
            image, boxes / self.stride, classes, size, (height, width))

        # position and shape as t is decoded: sigma(t_x), sigma(t_y), and ln(size / p) = t_w, t_h
        mine = predicted[image, anchor, row, column]
        place = functional.mse_loss(mine[:, :2].sigmoid(), true[:, :2].to(mine), reduction='sum')
        shape = functional.mse_loss(mine[:, 2:4], true[:, 2:].to(mine), reduction='sum')
        kind = functional.cross_entropy(mine[:, 5:], classes, reduction='sum')

        exists = torch.zeros_like(predicted[..., 4])
        exists[image, anchor, row, column] = 1
        weight[image, anchor, row, column] = 1
        objects = functional.binary_cross_entropy_with_logits(
            predicted[..., 4], exists, weight, reduction='sum')

        total = self.box_weight * (place + shape) + objects + kind
        return total / max(len(image), int(labelled.sum()))

    def amount(self, target: Tensor) -> Tensor:
        """
        Return the 0-dimensional float64 number that the sum is divided by.

        It counts boxes that lose their anchor to a larger one too.
        """
        labelled = (target[..., 4] != NOT_LABELLED).all(1)
        boxes = ((target[..., 4] > NO_BOX) & labelled[:, None]).sum()
        return torch.maximum(boxes, labelled.sum()).double()

    def _boxes(self, target: Tensor, labelled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return image, corners in pixels and class of every true box, the largest first."""
        real = (target[..., 4] > NO_BOX) & labelled[:, None]
        image = real.nonzero()[:, 0]
        boxes = target[real][:, :4].double()
        classes = target[real][:, 4].long()
        if bool((classes >= self.classes).any()):
            raise ValueError(
                f'a box has the class {int(classes.max())}; there are {self.classes}, from 0 on')
        sides = boxes[:, 2:] - boxes[:, :2]
        if not bool((sides > 0).all()):
            raise ValueError('a box has no area; boxes are x_min, y_min, x_max, y_max, pixels')

        order = sides.prod(1).argsort(descending=True, stable=True)
        return image[order], boxes[order], classes[order]

    @staticmethod
    def _matched(
        image: Tensor, boxes: Tensor, classes: Tensor, size: Tensor, grid: tuple[int, int],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """
        Assign each box to an anchor of a cell; of two that claim one, the larger gets it.

        :param image: (B,) number of the image of each box.
        :param boxes: (B, 4) corners in cells, the largest box first.
        :param classes: (B,).
        :param size: (A, 2) of the anchors in cells.
        :param grid: height and width in cells.
        :return: image, anchor, row, column, (position, log of size) and class of each box
            kept.
        """
        # the anchor of the most similar shape, both on the same centre
        sides = boxes[:, 2:] - boxes[:, :2]
        overlap = torch.minimum(sides[:, None], size).prod(2)
        union = sides.prod(1)[:, None] + size.prod(1) - overlap
        anchor = (overlap / union).argmax(1) if len(boxes) else image

        # the cell of the centre; a centre outside the image belongs to the nearest cell
        centre = (boxes[:, 2:] + boxes[:, :2]) / 2
        limit = centre.new_tensor([grid[1] - 1, grid[0] - 1])
        cell = torch.minimum(centre.floor().clamp(min=0), limit)
        column, row = cell.long().unbind(1)
        true = torch.cat(((centre - cell).clamp(0, 1), (sides / size[anchor]).log()), dim=1)

        # The boxes are sorted by falling size, so the first one of each anchor is the largest. A
        # minimum over their numbers finds it on every device; an indexed write would race.
        place = ((image * len(size) + anchor) * grid[0] + row) * grid[1] + column
        position = torch.arange(len(place), device=place.device)
        first = torch.full(
            (int(place.max()) + 1 if len(place) else 0,), len(place), device=place.device)
        first = first.scatter_reduce(0, place, position, 'amin')
        kept = first[place] == position
        return (image[kept], anchor[kept], row[kept], column[kept], true[kept], classes[kept])

    def _empty_weights(
        self, image: Tensor, boxes: Tensor, labelled: Tensor, size: Tensor,
        grid: tuple[int, int],
    ) -> Tensor:
        """Return the (N, A, h, w) weights of anchors without an object; 0 for ignored ones."""
        # every anchor of every cell as a box in pixels
        rows = torch.arange(grid[0], device=size.device) + 0.5
        columns = torch.arange(grid[1], device=size.device) + 0.5
        centre = torch.stack(torch.meshgrid(columns, rows, indexing='xy'), dim=-1)
        half = size[:, None, None] / 2
        anchors = torch.cat((centre - half, centre + half), dim=-1) * self.stride

        # per image, the number of ground-truth boxes that each of them overlaps too much
        overlaps = box_iou(boxes, anchors.flatten(0, 2)) > self.ignored_overlap
        hits = anchors.new_zeros(len(labelled), overlaps.shape[1]).index_add(
            0, image, overlaps.to(anchors.dtype))
        weight = self.empty_weight * (hits == 0) * labelled[:, None]
        return weight.view(len(labelled), len(size), *grid)
