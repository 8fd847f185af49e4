# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import fcntl
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from mtl_perception.cli import main
from mtl_perception.commands import doctor
from mtl_perception.manifest import PRETRAINED


def findings():
    return {finding.subject: finding for finding in doctor.examine()}


def test_the_shipped_models_pass():
    found = findings()
    names = [path.stem for path in PRETRAINED.glob('*.safetensors')]
    assert names
    assert all(found[f'model {name}'].level == 'ok' for name in names)


def test_a_changed_model_fails(tmp_path, monkeypatch):
    for path in PRETRAINED.iterdir():
        shutil.copy(path, tmp_path)
    weights = next(tmp_path.glob('*.safetensors'))
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    monkeypatch.setattr(doctor, 'PRETRAINED', tmp_path)
    found = findings()[f'model {weights.stem}']
    assert found.level == 'fail'
    assert 'sha256' in found.text


def test_a_profile_that_does_not_exist_fails(monkeypatch):
    monkeypatch.delenv('RMW_IMPLEMENTATION', raising=False)
    monkeypatch.setenv('FASTDDS_DEFAULT_PROFILES_FILE', 'nowhere.xml')
    assert findings()['Fast DDS profile'].level == 'fail'


def test_missing_ros_fails_with_what_to_do():
    code = ("import sys; sys.modules['rclpy'] = None\n"
            "from mtl_perception.cli import main; sys.exit(main(['doctor']))")
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 2
    line = next(line for line in done.stdout.splitlines() if line.split()[1] == 'rclpy')
    assert line.startswith('FAIL')


@pytest.mark.parametrize(('distro', 'level'), [('jazzy', 'fail'), ('', 'note')])
def test_ros_is_needed_where_it_was_sourced_and_not_for_python_alone(monkeypatch, distro, level):
    monkeypatch.setenv('ROS_DISTRO', distro)
    monkeypatch.setattr(doctor, '_is_installed', lambda name: False)
    monkeypatch.setattr(doctor, '_library', lambda name, level, advice: doctor.Finding(
        level, name, advice))
    monkeypatch.setattr(doctor.subprocess, 'run', lambda *arguments, **options: SimpleNamespace(
        returncode=1, stderr=''))
    found = list(doctor._ros())[1:]
    assert {one.level for one in found} == {level}
    assert all("pip install '.[ros-wheels]'" in one.text for one in found)
    assert len(found) == (1 if level == 'note' else len(doctor.ROS_LIBRARIES))


def test_what_only_some_commands_need_is_a_note(monkeypatch):
    names = ('torch', 'tensorboard', 'matplotlib', 'torchjd', 'rerun', 'scipy')
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)
    found = findings()
    assert {found[name].level for name in names} == {'note'}
    assert 'mtl view' in found['rerun'].text
    assert all(': pip install ' in found[name].text for name in names)


def test_segments_of_killed_processes_are_told_and_no_others(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.middleware, 'SHARED_MEMORY', tmp_path)
    for name in ('fastdds_1a', 'fastdds_2b'):
        (tmp_path / name).write_bytes(bytes(3 << 20))
        (tmp_path / f'{name}_el').touch()
    (tmp_path / 'fastdds_port7412').touch()
    (tmp_path / 'fastdds_port7412_el').touch()

    with (tmp_path / 'fastdds_1a_el').open() as lock:  # as its process holds it
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert doctor.middleware.left_segments(tmp_path) == [tmp_path / 'fastdds_2b']
        found = findings()['shared memory']
    assert found.level == 'note'
    assert '1 segments, 3 MiB, are of processes that were killed' in found.text
    assert f'rm {tmp_path}/*fastdds_*' in found.text

    (tmp_path / 'fastdds_2b').unlink()
    with (tmp_path / 'fastdds_1a_el').open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert 'killed' not in findings()['shared memory'].text


def test_what_a_calibration_file_is_worth(tmp_path, capsys):
    path = tmp_path / 'camera.yaml'
    text = ('image_width: 640\nimage_height: 480\nK: [500, 0, 320, 0, 500, 240, 0, 0, 1]\n'
            'D: [-0.3, 0.1, 0, 0, 0]\n')
    path.write_text(text)
    assert main(['doctor', '--calibration', str(path)]) == 0
    said = capsys.readouterr().out
    assert 'calibrated focal length of 500 pixels, for 640 x 480 pixels' in said
    assert 'its distortion is strong: images are rectified' in said

    path.write_text(text.replace('500', '24000000'))
    assert main(['doctor', '--calibration', str(path)]) == 2
    assert 'the focal length in K is 2.4e+07 pixels' in capsys.readouterr().err


def test_a_torch_that_lacks_a_library_is_told_and_ends_nothing(tmp_path):
    (tmp_path / 'torch').mkdir()
    (tmp_path / 'torch/__init__.py').write_text("raise OSError('libcublas.so.12: no such file')")
    code = (f'import sys; sys.path.insert(0, {str(tmp_path)!r})\n'
            'from mtl_perception.inference import engines; engines.GPUS = ("/",)\n'
            "from mtl_perception.cli import main; main(['doctor'])")
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    found = {line.split()[1]: line for line in done.stdout.splitlines()}
    assert found['cuda'].startswith('NOTE cuda')
    assert 'OSError: libcublas.so.12: no such file; install it again' in found['cuda']
    assert 'auto takes onnx' in found['engine']
    assert found['torch'].startswith('NOTE')
    assert 'there is a GPU, but torch cannot be used (OSError: libcublas' in done.stderr


def test_a_driver_or_a_folder_that_fails_costs_one_finding(monkeypatch):
    torch = pytest.importorskip('torch')

    def fail(*_):
        raise PermissionError('not yours')

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'get_device_name', fail)
    monkeypatch.setattr(doctor.shutil, 'disk_usage', fail)
    found = findings()
    assert found['cuda'].level == 'note'
    assert 'torch ends in PermissionError: not yours' in found['cuda'].text
    assert found['shared memory'].level == 'fail'
    assert found['shared memory'].text.startswith('looking at it ends in PermissionError')
    assert found['model roads'].level == 'ok'


def test_two_builds_of_onnxruntime_over_one_another_are_reported(monkeypatch):
    names = ['onnxruntime', 'onnxruntime_gpu', 'onnxruntime-extensions', 'numpy']
    monkeypatch.setattr(doctor.importlib.metadata, 'distributions', lambda: [
        SimpleNamespace(metadata={'Name': name}) for name in names])
    lines = [finding for finding in doctor._engines() if finding.subject == 'onnxruntime']
    assert 'onnxruntime and onnxruntime-gpu lie over one another' in lines[0].text

    names.remove('onnxruntime_gpu')
    assert not any('over one another' in finding.text for finding in doctor._engines())


def test_the_engines_are_named_with_what_they_have(monkeypatch):
    library = SimpleNamespace(
        __version__='9.9', __spec__='found', get_available_providers=lambda: ['Some', 'CPU'])
    monkeypatch.setitem(sys.modules, 'onnxruntime', library)
    monkeypatch.setitem(sys.modules, 'openvino', None)
    found = {finding.subject: finding for finding in doctor._engines()}

    # that library lacks what the engine needs
    assert found['engine'].text.startswith('for model roads auto takes torch ')
    assert ' on cpu, fp32, 1 CPU thread(s); auto: a faster engine was left' in found['engine'].text
    assert 'engine onnx cannot be used (AttributeError' in found['engine'].text
    assert found['precision'].text.startswith('auto ')
    assert found['onnxruntime'].text == '9.9; providers Some, CPU'
    assert found['openvino'].level == 'note'
    assert "pip install 'mtl_perception[openvino]'" in found['openvino'].text
