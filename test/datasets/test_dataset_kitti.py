# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""KITTI 2015 and KITTI raw."""

import cv2
import numpy as np
import pytest
from dataset_trees import boxes_by_id, constant, write_image, write_map, write_text

from mtl_perception.datasets.geometry import project_points, read_scan
from mtl_perception.datasets.kitti2015 import Kitti2015
from mtl_perception.datasets.kitti_raw import EIGEN_TEST, KittiRaw
from mtl_perception.errors import ConfigurationError, DataError

DRIVE = '2011_09_26_drive_0001_sync'
CAM_TO_CAM = """calib_time: 09-Jan-2012 13:57:47
R_rect_00: 1 0 0 0 1 0 0 0 1
P_rect_02: 4 0 4 2 0 4 3 0 0 0 1 0
P_rect_03: 4 0 4 -1 0 4 3 0 0 0 1 0
"""
VELO_TO_CAM = 'calib_time: 15-Mar-2012 11:37:16\nR: 0 -1 0 0 0 -1 1 0 0\nT: 0 0 -0.25\n'

# of the drives of 2011_09_26, as published with them
REAL_VELO_TO_CAM = """calib_time: 15-Mar-2012 11:37:16
R: 7.533745e-03 -9.999714e-01 -6.166020e-04 1.480249e-02 7.280733e-04 -9.998902e-01 \
9.998621e-01 7.523790e-03 1.480755e-02
T: -4.069766e-03 -7.631618e-02 -2.717806e-01
"""
REAL_CAMERA = {'focal_px': 721.5377, 'baseline_m': 0.5327}


@pytest.fixture
def scenes(tmp_path):
    """Write scenes 3, 4 and 5 in the layout of KITTI 2015, frames 9 to 11."""
    folder = tmp_path / 'training'
    for scene in (3, 4, 5):
        for frame in (9, 10, 11):
            write_image(folder / f'image_2/{scene:06d}_{frame:02d}.png', 10 * scene + frame)
        disparity, objects = constant(0, np.uint16), constant(0)
        disparity[1, 2], disparity[1, 3] = 512, 384  # 2 px and 1.5 px
        objects[4:6, 1:3] = scene
        write_map(folder / f'disp_occ_0/{scene:06d}_10.png', disparity)
        write_map(folder / f'obj_map/{scene:06d}_10.png', objects)
        write_text(folder / f'calib_cam_to_cam/{scene:06d}.txt', CAM_TO_CAM)
    return tmp_path


@pytest.fixture
def raw(tmp_path):
    """Write two drives of three frames in the layout of KITTI raw; one frame has no scan."""
    date = tmp_path / '2011_09_26'
    for drive in (DRIVE, '2011_09_26_drive_0002_sync'):
        for frame in range(3):
            write_image(date / drive / f'image_02/data/{frame:010d}.png', frame)
        for frame in (0, 2):
            path = date / drive / f'velodyne_points/data/{frame:010d}.bin'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(np.array([[8.25, 2, 0, 0.5], [4.25, 0, 1, 0.5]], '<f4').tobytes())
    write_text(date / 'calib_cam_to_cam.txt', CAM_TO_CAM)
    write_text(date / 'calib_velo_to_cam.txt', VELO_TO_CAM)
    return tmp_path


def test_kitti_2015_has_metric_depth_and_motion(scenes):
    sample = Kitti2015(str(scenes))[0]
    # the cameras are (2 + 1) / 4 = 0.75 m apart, f = 4 px
    assert sample.depth[0, 1, 2:4].tolist() == [4 * 0.75 / 2, 4 * 0.75 / 1.5]
    assert np.isfinite(sample.depth).sum() == 2
    assert sample.motion[0, 4:6, 1:3].tolist() == [[1, 1], [1, 1]]
    assert sample.motion.sum() == 4
    assert sample.semantic is None


def test_kitti_2015_holds_out_every_fifth_scene(scenes):
    def names(split):
        return [path.stem[:6] for path, in Kitti2015(str(scenes), split).clips]

    assert names('train') == ['000003', '000005']
    assert names('validation') == ['000004']
    assert names('all') == ['000003', '000004', '000005']
    with pytest.raises(ConfigurationError, match="no split 'test'"):
        names('test')

    (scenes / 'training/image_2/000004_10.png').unlink()
    with pytest.raises(DataError, match='asked for hold no image'):
        names('validation')


def test_the_previous_frame_is_09_or_in_reverse_11_and_has_no_labels(scenes):
    for reverse, other in ((False, 9), (True, 11)):
        data = Kitti2015(str(scenes), frames=2, reverse=reverse)
        sample = data[1]
        assert sample.image[:, 0, 0, 0].tolist() == [40 + other, 50]
        assert (sample.motion[0] == 255).all()
        assert np.isnan(sample.depth[0]).all()
        assert sample.motion[1].sum() == 4
    (scenes / 'training/image_2/000004_11.png').unlink()

    assert [path.stem for path in Kitti2015(str(scenes), frames=2, reverse=True).incomplete] == [
        '000004_10']


def test_kitti_2015_needs_its_calibration_or_the_camera_in_numbers(scenes):
    for path in (scenes / 'training/calib_cam_to_cam').iterdir():
        path.unlink()

    with pytest.raises(DataError, match=r'calib_cam_to_cam/000003\.txt: does not exist'):
        Kitti2015(str(scenes))[0]

    (scenes / 'training/calib_cam_to_cam').rmdir()
    with pytest.raises(DataError, match='calib_cam_to_cam: no such folder'):
        Kitti2015(str(scenes))
    assert Kitti2015(str(scenes), focal_px=8.0, baseline_m=0.5)[0].depth[0, 1, 2] == 2.0
    with pytest.raises(ConfigurationError, match='give both'):
        Kitti2015(str(scenes), focal_px=8.0)


def test_a_calibration_file_without_the_cameras_is_refused(scenes):
    path = scenes / 'training/calib_cam_to_cam/000003.txt'
    write_text(path, 'P_rect_02: 1 2 3\n')
    with pytest.raises(DataError, match=r"000003\.txt: 'P_rect_02' has 3 numbers, wanted 12"):
        Kitti2015(str(scenes))[0]


def test_labels_without_a_folder_are_missing_from_the_sample(scenes):
    for kind in ('obj_map', 'disp_occ_0'):
        for path in (scenes / 'training' / kind).iterdir():
            path.unlink()
        (scenes / 'training' / kind).rmdir()
    assert Kitti2015(str(scenes))[0].labels() == {}


def test_kitti_raw_projects_the_scan_of_a_frame(raw):
    sample = KittiRaw(str(raw), drives=[DRIVE])[0]
    # (8.25, 2, 0): Z = 8, u = (4 * -2 + 2) / 8 + 4 = 3.25, v = 3; (4.25, 0, 1): Z = 4, u = 4.5
    assert sample.depth[0, 3, 3] == 8.0
    assert sample.depth[0, 2, 4] == 4.0
    assert np.isfinite(sample.depth).sum() == 2


def test_the_focal_length_of_kitti_raw_is_that_of_its_date(raw):
    data = KittiRaw(str(raw), drives=[DRIVE])
    image = data.clips[0][-1]
    assert data.focal_length(image) == 4
    (raw / '2011_09_26/calib_cam_to_cam.txt').unlink()
    assert data.focal_length(image) is None


def test_a_frame_without_a_scan_is_unknown_or_missing(raw):
    assert KittiRaw(str(raw), drives=[DRIVE])[1].depth is None
    data = KittiRaw(str(raw), drives=[DRIVE], frames=2)
    assert (len(data), len(data.incomplete)) == (2, 1)
    assert np.isfinite(data[1].depth).sum(axis=(1, 2)).tolist() == [0, 2]


def test_the_28_test_drives_are_not_trained_on(raw):
    assert sum(map(len, EIGEN_TEST.values())) == 28
    assert {path.parents[2].name for path, in KittiRaw(str(raw), 'train').clips} == {DRIVE}
    assert {path.parents[2].name for path, in KittiRaw(str(raw), 'test').clips} == {
        '2011_09_26_drive_0002_sync'}


def test_kitti_raw_refuses_unknown_splits_cameras_and_drives(raw, tmp_path):
    with pytest.raises(DataError, match="no drive 'drive_1'"):
        KittiRaw(str(raw), drives=['drive_1'])
    with pytest.raises(ConfigurationError, match='camera is 0'):
        KittiRaw(str(raw), camera=0)
    with pytest.raises(DataError, match=r'nowhere: no such folder'):
        KittiRaw(str(tmp_path / 'nowhere'))

    (raw / '2011_09_26/calib_velo_to_cam.txt').unlink()
    with pytest.raises(DataError, match=r'calib_velo_to_cam\.txt: does not exist'):
        KittiRaw(str(raw))

    write_text(tmp_path / 'elsewhere/calib_velo_to_cam.txt', VELO_TO_CAM)
    write_text(tmp_path / 'elsewhere/calib_cam_to_cam.txt', CAM_TO_CAM)
    elsewhere = KittiRaw(str(raw), drives=[DRIVE], calibration=str(tmp_path / 'elsewhere'))

    assert elsewhere[0].depth[0, 3, 3] == 8.0

    write_image(raw / '2011_09_28/2011_09_28_drive_0001_sync/image_02/data/0000000000.png')
    with pytest.raises(ConfigurationError, match=r'2011_09_28.*each date has its own'):
        KittiRaw(str(raw), calibration=str(tmp_path / 'elsewhere'))


@pytest.fixture
def recorded_raw(real_data, tmp_path):
    """Return the recorded drive and the calibration that its archive does not hold."""
    root = real_data('kitti_raw')
    write_text(tmp_path / 'calib_velo_to_cam.txt', REAL_VELO_TO_CAM)
    source = root / '2011_09_26/calib_cam_to_cam.txt'
    write_text(tmp_path / 'calib_cam_to_cam.txt', source.read_text())
    return KittiRaw(
        str(root), drives=['2011_09_26_drive_sfnd_sync'], calibration=str(tmp_path), frames=2)


@pytest.mark.real_data
def test_recorded_kitti_2015(real_data):
    root = str(real_data('kitti2015'))
    assert [len(Kitti2015(root, split, **REAL_CAMERA)) for split in ('all', 'train', 'validation')
            ] == [92, 74, 18]

    data = Kitti2015(root, **REAL_CAMERA)
    index = [path.stem for path, in data.clips].index('000008_10')
    sample = data[index]

    # a dark car comes towards the camera; stored disparity 7226: 721.5377 * 0.5327 * 256 / 7226
    assert sample.depth[0, 218, 360] == pytest.approx(13.617, abs=0.001)
    assert sample.motion[0, 218, 360] == 1
    assert sample.motion[0, 300, 600] == 0  # road
    assert sample.depth[0, 300, 600] == pytest.approx(9.280, abs=0.001)  # stored 10603

    boxes = boxes_by_id(data.read_instances(data.clips[index][0], (375, 1242)))
    assert boxes[3] == (320, 194, 420, 261)
    assert len(boxes) == 4


@pytest.mark.real_data
def test_recorded_pair_of_kitti_2015(real_data):
    data = Kitti2015(str(real_data('kitti2015_pair')), frames=2, reverse=True)
    sample = data[0]
    assert [path.stem for path in data.clips[0]] == ['000139_11', '000139_10']
    assert sample.labels() == {}
    difference = np.abs(sample.image[0].astype(int) - sample.image[1]).mean()
    assert 2 < difference < 40  # the next frame of the same street


@pytest.mark.real_data
def test_recorded_lidar_and_stereo_agree(real_data, recorded_raw):
    root = real_data('kitti2015_mini')
    projection = next(iter(recorded_raw.projections.values()))
    data = Kitti2015(str(root), **REAL_CAMERA)

    assert len(data) == 2

    for index, (path,) in enumerate(data.clips):
        scan = read_scan(root / 'training/velodyne_points' / f'{path.stem[:6]}.bin')
        lidar = project_points(scan, projection, (375, 1242))
        stereo = data[index].depth[0]
        both = np.isfinite(lidar) & np.isfinite(stereo)
        assert both.sum() > 10_000
        assert np.median(np.abs(lidar - stereo)[both] / stereo[both]) < 0.005


@pytest.mark.real_data
def test_recorded_kitti_raw(recorded_raw):
    assert (len(recorded_raw), len(recorded_raw.incomplete)) == (55, 1)
    assert recorded_raw.clips[7][1].stem == '0000000008'

    sample = recorded_raw[7]
    assert sample.image.shape == (2, 375, 1242, 3)
    assert np.isnan(sample.depth[0]).all()  # every eighth frame has a scan
    assert int(np.isfinite(sample.depth[1]).sum()) == 15182
    # the point (10.042, 0.838, -1.663) m, 9.7548 m in front of the camera by hand
    assert sample.depth[1, 299, 553] == pytest.approx(9.7548, abs=0.0005)
    assert recorded_raw[0].depth is not None  # its first frame has one
    assert recorded_raw[1].depth is None


def edge_strength(image, depth, shift):
    """Return the mean brightness step where lidar depth jumps, the depth shifted sideways."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1)
    step, found = np.abs(cv2.Sobel(grey, cv2.CV_32F, 1, 0)), []
    for row in range(150, 340):
        places = np.flatnonzero(np.isfinite(depth[row]))
        left, right = places[:-1], places[1:]
        jumps = (np.abs(depth[row, left] - depth[row, right]) > 2) & (right - left <= 6)
        columns = (left[jumps] + right[jumps]) // 2 + shift
        found += step[row, columns[(columns > 0) & (columns < 1241)]].tolist()
    return np.mean(found)


@pytest.mark.real_data
def test_recorded_depth_of_the_lidar_jumps_where_the_image_has_edges(recorded_raw):
    """Shifted by 8 pixels or more to either side, the jumps of every scan lose their edges."""
    scans = 0
    for index in range(len(recorded_raw)):
        sample = recorded_raw[index]
        if sample.depth is None or not np.isfinite(sample.depth[1]).any():
            continue
        scans += 1
        image, depth = sample.image[1], sample.depth[1].astype(np.float64)
        there = edge_strength(image, depth, 0)
        shifted = [edge_strength(image, depth, shift) for shift in (-24, -16, -8, 8, 16, 24)]
        assert there > 1.04 * max(shifted)
        assert there > 1.4 * np.mean(shifted)

    assert scans == 6  # of the seven, the first has no image before it
