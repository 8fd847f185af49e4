# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pseudo labels of a teacher, street classes in images of a drive, and checks without labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_training import Boxes
from torch import nn

from mtl_perception.errors import DataError
from mtl_perception.tasks import UNLABELLED
from mtl_perception.training.adaptation import check_drive
from mtl_perception.training.self_check import self_check
from mtl_perception.training.self_training import DriveAndStreet, Teacher


class Fixed(nn.Module):
    """A learner whose two classes and their probability are read from the red channel."""

    def __init__(self, noise=0.0):
        super().__init__()
        self.network = nn.Linear(1, 1)
        self.register_buffer('mean', torch.zeros(1))
        self.noise = noise

    def outputs(self, image):
        red = image[0, ..., 0].float() / 255
        if self.noise:
            red = (red + self.noise * torch.rand_like(red)) % 1
        return {'semantic': torch.stack([1 - red, red], 1).clamp(1e-6).log()}


class Average:
    """An average that a teacher can load."""

    def __init__(self, learner):
        self.state = learner.network.state_dict()


def teacher(noise=0.0, **options):
    learner = Fixed(noise)
    return Teacher(learner, Average(learner), **options)


def images_of(red):
    """Return a clip of one image with these values of red, 0 to 1."""
    image = np.zeros((1, *red.shape, 3), np.uint8)
    image[0, ..., 0] = np.round(red * 255)
    return image


def test_each_class_is_labelled_where_the_teacher_is_surest():
    # Class 1 on the left with 0.55 to 0.75, class 0 on the right with 0.6 to 0.8 certainty.
    left = np.linspace(0.55, 0.75, 100)
    right = 1 - np.linspace(0.6, 0.8, 100)
    labels = teacher(share=0.5).label(images_of(np.concatenate([left, right])[None]))[0, 0]

    # About the better half of each is labelled; mirrored images do not change the order here.
    assert set(np.unique(labels)) == {0, 1, UNLABELLED}
    assert 35 <= (labels == 1).sum() <= 50
    assert 35 <= (labels == 0).sum() <= 50
    assert (labels[:35] == UNLABELLED).all()
    assert (labels[60:100] == 1).all()


def test_what_is_almost_certain_is_always_labelled():
    labels = teacher(share=0.1, sure=0.95).label(images_of(np.full((4, 4), 0.99)))
    assert (labels == 1).all()


def test_the_answer_is_that_of_the_image_and_its_mirror_image():
    class Side(Fixed):
        """Sees class 1 on the left side of whatever image."""

        def outputs(self, image):
            red = torch.full(image.shape[1:4], 0.1)
            red[..., :2] = 0.9
            return {'semantic': torch.stack([1 - red, red], 1).log()}

    learner = Side()
    _, confidence = Teacher(learner, Average(learner)).answer(np.zeros((1, 4, 4, 3), np.uint8))
    np.testing.assert_allclose(confidence, 0.5, atol=1e-6)


@pytest.fixture
def clips():
    drive = [np.full((2, 64, 64, 3), 255, np.uint8)] * 3
    return DriveAndStreet(Boxes(), drive, teacher())


def test_half_of_the_clips_are_street_and_half_drive(clips):
    assert len(clips) == 6
    street, real = clips[0], clips[1]
    assert street.semantic.max() == 11
    assert np.isfinite(street.depth[street.semantic != 11]).all()
    assert real.image.shape == (2, 64, 64, 3)


def test_pasted_classes_bring_their_pixels_labels_and_depth(clips):
    times = 0
    for _ in range(8):
        real = clips[1]
        pasted = (real.image != 255).any(3)
        times += pasted.any()
        assert set(np.unique(real.semantic[pasted])) <= {0, 8, 11}

        # The rest is the drive, as the teacher labels it, without depth.
        assert set(np.unique(real.semantic[~pasted])) <= {1, UNLABELLED}
        assert np.isnan(real.depth[~pasted]).all()
        assert (real.motion == 255).all()
    assert times > 4


def test_the_drive_has_the_depth_that_was_found_where_nothing_is_pasted():
    drive = [np.full((2, 64, 64, 3), 255, np.uint8)] * 2
    known = np.full((64, 64), 7, np.float32)
    clips = DriveAndStreet(Boxes(), drive, teacher(), depth={1: known})

    real = clips[3]
    pasted = (real.image != 255).any(3)
    assert (real.depth[1][~pasted[1]] == 7).all()
    assert np.isnan(real.depth[0][~pasted[0]]).all()  # only the last frame of a clip is known
    assert not (clips[1].depth == 7).any()


def test_clips_without_labels_or_frames_paste_what_they_have():
    class Bare(Boxes):
        """Clips of one frame, of which one half has no depth and the other no classes."""

        def __getitem__(self, number):
            sample = super().__getitem__(number).window(0, 1)
            return replace(sample, **{'depth' if number % 2 else 'semantic': None})

    drive = [np.full((2, 64, 64, 3), 255, np.uint8)] * 3
    clips = DriveAndStreet(Bare(), drive, teacher())
    for _ in range(12):
        real = clips[1]
        pasted = (real.image != 255).any(3)
        assert real.image.shape == (2, 64, 64, 3)
        assert np.array_equal(pasted[0], pasted[1])  # the only frame twice
        assert np.isnan(real.depth).all()


def test_rare_classes_of_the_drive_are_pasted_as_often_as_the_others(clips):
    """If they were always, the network would see them everywhere."""
    assert not clips.rare[1]
    assert clips.rare[[0, 8]].all()
    times = sum((clips[1].semantic == 8).any() for _ in range(40))
    assert 10 <= times <= 30


def test_a_pixel_of_a_rare_class_is_not_given_up():
    """The teacher changes its mind about a small object and about the large background."""
    first = np.full((64, 64), 0.9)
    first[30:34, 30:34] = 0.1  # class 0, rare
    drive = DriveAndStreet(Boxes(), [images_of(first)], teacher(share=1.0))

    # Now it calls the object 1 like the rest, and a part of the background 0.
    later = np.full((64, 64), 0.9)
    later[50:] = 0.1
    drive.drive = [images_of(later)]
    drive.rare = np.zeros(256, bool)  # nothing is pasted over it for sure
    for _ in range(10):
        clip = drive[1]
        free = np.isnan(clip.depth[0])
        assert (clip.semantic[0][30:34, 30:34][free[30:34, 30:34]] == UNLABELLED).all()
        assert (clip.semantic[0][50:][free[50:]] == 0).all()


def test_a_network_that_does_not_mind_the_view_is_consistent():
    halves = np.zeros((40, 64))
    halves[:, 32:] = 1
    found = self_check(teacher(), [images_of(halves)] * 2)
    assert found.consistency == pytest.approx(1, abs=0.03)
    assert found.shares[:2] == pytest.approx([0.5, 0.5])
    assert found.agreement(found) == 1


def test_a_network_that_guesses_is_not():
    torch.manual_seed(0)
    found = self_check(teacher(noise=1.0), [images_of(np.full((40, 64), 0.5))])
    assert found.consistency < 0.5


def different_images(count):
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (count, 9, 16, 3)).astype(np.uint8)
    return [image.repeat(8, 0).repeat(8, 1) for image in coarse]


def test_a_drive_is_accepted():
    check_drive(different_images(12))


def test_a_slow_drive_is_accepted_but_the_noise_of_one_image_is_no_drive():
    """Each image differs little from the one before, but they add up."""
    one, other = (image.astype(float) for image in different_images(2))
    slow = [(one + (other - one) * share).astype(np.uint8) for share in np.linspace(0, 0.5, 30)]
    check_drive(slow)

    generator = np.random.default_rng(0)
    noisy = [np.clip(one + generator.normal(0, 2, one.shape), 0, 255).astype(np.uint8)
             for _ in range(30)]
    with pytest.raises(DataError, match='of which 1 differ'):
        check_drive(noisy)


@pytest.mark.parametrize(('images', 'message'), [
    ([], '0 images'),
    (different_images(5), '5 images, of which 5 differ'),
    (different_images(1) * 50, '50 images, of which 1 differ'),
    (list(np.random.default_rng(0).integers(0, 256, (20, 72, 128, 3), np.uint8)), 'noise'),
])
def test_what_is_no_drive_is_declined(images, message):
    with pytest.raises(DataError, match=message):
        check_drive(images)


def test_what_is_pasted_has_no_depth_where_depth_follows_the_height_of_the_camera():
    """A car of the street was seen from another height than the drive's."""
    drive = [np.full((2, 64, 64, 3), 255, np.uint8)] * 2
    known = np.full((64, 64), 7, np.float32)
    clips = DriveAndStreet(Boxes(), drive, teacher(), depth={1: known}, height_ratio=1.4)

    for _ in range(4):
        real = clips[3]
        pasted = (real.image[1] != 255).any(2)
        assert (real.depth[1][~pasted] == 7).all()
        assert np.isnan(real.depth[1][pasted]).all()
        assert real.height_ratio == 1.4
    assert clips[2].height_ratio == 1.0


def test_a_teacher_looks_from_the_height_of_the_drive():
    """A car at exp(2) m of the training is there from any height: exp(2) / r in labels."""
    class Deep(Fixed):
        def outputs(self, image):
            depth = torch.tensor([2.0, -1.0])[None, :, None, None].expand(1, 2, 4, 4)
            return {**super().outputs(image), 'depth': depth}

    learner = Deep()
    one = Teacher(learner, Average(learner))
    image = np.zeros((1, 4, 4, 3), np.uint8)
    np.testing.assert_allclose(one.look(image)[1], np.e ** 2, rtol=1e-6)
    np.testing.assert_allclose(one.look(image, height_ratio=np.e)[1], np.e, rtol=1e-6)
