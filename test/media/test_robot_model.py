# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Robot descriptions: where links are, and what is refused."""

import numpy as np
import pytest

from mtl_perception.errors import ConfigurationError
from mtl_perception.media.robot_model import RobotModel


def joint(name, parent, child, xyz='0 0 0', rpy='0 0 0', kind='fixed'):
    return (f'<joint name="{name}" type="{kind}"><parent link="{parent}"/>'
            f'<child link="{child}"/><origin xyz="{xyz}" rpy="{rpy}"/></joint>')


def robot(*joints):
    return RobotModel(f'<robot name="r">{"".join(joints)}</robot>')


BASE = joint('base', 'base_footprint', 'base_link', '0 0 0.25')
MAST = joint('mast', 'base_link', 'camera_link', '0.5 0 1')
OPTICAL = joint('optical', 'camera_link', 'camera_optical', rpy='-1.5707963267948966 0 '
                '-1.5707963267948966')


def test_heights_add_up_and_an_optical_frame_looks_ahead():
    pose = robot(BASE, MAST, OPTICAL).pose('base_footprint', 'camera_optical')
    assert pose[:3, 3] == pytest.approx([0.5, 0, 1.25])
    # z of the image is x of the robot, x is to its right, y down
    assert pose[:3, :3] == pytest.approx(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]))


def test_the_order_of_the_angles_is_roll_pitch_yaw_about_fixed_axes():
    turned = robot(joint('j', 'a', 'b', rpy=f'0 {np.pi / 2} {np.pi / 2}')).pose('a', 'b')
    # x pitches down to -z, which the yaw leaves; y yaws to -x
    assert turned[:3, 0] == pytest.approx([0, 0, -1], abs=1e-12)
    assert turned[:3, 1] == pytest.approx([-1, 0, 0], abs=1e-12)


def test_the_way_back_is_the_inverse_and_branches_meet_below_their_root():
    model = robot(BASE, MAST, OPTICAL, joint('rear', 'base_link', 'rear_link', '-1 0 0.5'))
    there = model.pose('rear_link', 'camera_optical')
    assert there[:3, 3] == pytest.approx([1.5, 0, 0.5])
    back = model.pose('camera_optical', 'rear_link')
    assert there @ back == pytest.approx(np.eye(4))
    assert model.pose('base_link', 'base_link') == pytest.approx(np.eye(4))


def test_a_joint_that_moves_and_a_link_that_is_not_there_are_no_pose():
    pan = joint('pan', 'base_link', 'camera_link', '0 0 1', kind='revolute')
    model = robot(BASE, pan, OPTICAL)
    with pytest.raises(LookupError, match="joint 'pan' above 'camera_optical' moves"):
        model.pose('base_footprint', 'camera_optical')
    assert model.pose('camera_link', 'camera_optical')[:3, 3] == pytest.approx([0, 0, 0])
    with pytest.raises(LookupError, match="no joints connect 'base_footprint' and 'nowhere'"):
        model.pose('base_footprint', 'nowhere')
    circle = robot(joint('a', 'x', 'y'), joint('b', 'y', 'x'))
    with pytest.raises(LookupError, match='circle'):
        circle.pose('base', 'x')


@pytest.mark.parametrize(('text', 'words'), [
    ('no xml', 'is no XML'),
    ('<robot><joint name="j"><parent link="a"/></joint></robot>', "joint 'j' lacks its parent"),
    (f'<robot>{joint("j", "a", "b", "0 0 high")}</robot>', "xyz of joint 'j' is '0 0 high'"),
    (f'<robot>{joint("j", "a", "b", "0 0 nan")}</robot>', 'three numbers'),
    (f'<robot>{joint("j", "a", "b", "0 0")}</robot>', 'three numbers'),
    (f'<robot>{joint("j", "a", "b") + joint("k", "c", "b")}</robot>', "two joints, 'j' and 'k'"),
    (f'<robot>{" " * 16_000_000}</robot>', 'wanted at most')])
def test_what_is_no_robot_is_refused(text, words):
    with pytest.raises(ConfigurationError, match=words):
        RobotModel(text)


def test_entities_that_grow_without_bound_are_refused():
    entities = ''.join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(12))
    with pytest.raises(ConfigurationError, match='is no XML'):
        RobotModel(f'<!DOCTYPE r [<!ENTITY e0 "0123456789">{entities}]><robot>&e12;</robot>')
