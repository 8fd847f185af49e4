# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Every reason code of the package, with its meaning, cause and cure.

A code stands in brackets in front of an error message, in the counters of the diagnostics and in
logs. Its value never changes. ``python -m mtl_perception.code_page`` prints ``docs/codes.md``, and
``mtl doctor CODE`` explains one.
"""

from enum import Enum


class ReasonCode(str, Enum):
    """
    A stable reason code; it is its own text, so that ``ReasonCode('T05_stale') == 'T05_stale'``.

    - ``meaning``: what happened.
    - ``cause``: what usually leads to it.
    - ``cure``: what to do.
    """

    meaning: str
    cause: str
    cure: str

    def __new__(cls, value: str, meaning: str, cause: str, cure: str) -> 'ReasonCode':
        """Make the string itself the value."""
        code = str.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        code.cause = cause
        code.cure = cure
        return code

    def __str__(self) -> str:
        """Return the code, such as ``T05_stale``."""
        return str(self.value)

    # images

    IMAGE_EMPTY = (
        'I01_empty', 'An image message holds no data.',
        'The driver published before the first frame, or the frame was lost on its way.',
        'Look at the driver; single frames at its start do no harm.')
    IMAGE_ZERO_SIZE = (
        'I02_zero_size', 'The width or height of an image is 0.',
        'The driver has not finished its configuration.',
        'Look at the driver and its resolution setting.')
    IMAGE_SHORT = (
        'I03_short', 'An image has fewer bytes than its size, step and encoding ask for.',
        'The message was cut, or width, height, step or encoding do not belong to the data.',
        'Compare "ros2 topic echo --no-arr" with the settings of the driver.')
    IMAGE_LONG = (
        'I04_long', 'An image has more bytes than its size, step and encoding ask for.',
        'Width, height, step or encoding do not belong to the data.',
        'Compare "ros2 topic echo --no-arr" with the settings of the driver.')
    IMAGE_STEP = (
        'I05_step', 'The step of an image is smaller than one row of pixels.',
        'The driver writes another step than its encoding needs.',
        'Set step to at least width x bytes per pixel where the image is published.')
    IMAGE_ENCODING = (
        'I07_encoding', 'The encoding of an image is not supported.',
        'The driver publishes an encoding that neither the package nor cv_bridge can read.',
        'Choose one of the encodings that the message lists, or install cv_bridge.')
    IMAGE_TOO_BIG = (
        'I10_too_big', 'An image claims more pixels than are allowed.',
        'A damaged message, or a camera larger than max_pixels.',
        'Raise the parameter max_pixels if the camera is really so large.')
    IMAGE_NOT_FINITE = (
        'I12_nonfinite', 'Most values of a floating-point image are not finite.',
        'A depth image on the topic of the colour image.',
        'Set image_topic to the topic of the colour image.')
    IMAGE_FLAT = (
        'I13_flat', 'Ten images in a row have one colour, but for noise (a warning).',
        'The lens is covered, the exposure is wrong, or the sensor is dead.',
        'Look at the camera and its image.')
    IMAGE_FROZEN = (
        'I14_frozen', 'Thirty images in a row are equal, while their stamps advance (a warning).',
        'The driver repeats its last frame.', 'Restart the driver, look at the cable.')
    IMAGE_CONTRAST = (
        'I15_contrast', 'An image of more than 8 bits has almost no contrast (a warning).',
        'The lens is covered, a thermal camera is capped or calibrates itself, or the numbers lie '
        'outside of image.range.',
        'Look at the camera; what the network answers to noise means nothing. Set image.range to '
        'auto, or to the numbers that the scene has.')
    IMAGE_DECODE = (
        'I17_decode', 'An image cannot be decoded or converted.',
        'A compressed image is cut or damaged, or a raw one is too small for its encoding.',
        'Look at the publisher and the link; a few dropped frames do no harm.')
    IMAGE_DAMAGED = (
        'I18_damaged', 'A compressed image is damaged, and was decoded nevertheless (a warning).',
        'A lossy link, a broken disk, or a publisher that cuts its images.',
        'Look at the publisher and the link; parts of the results may be wrong.')
    IMAGE_FORMAT = (
        'I19_format', 'A compressed image is neither JPEG nor PNG.',
        'The publisher uses another format.', 'Publish JPEG or PNG, or use the raw image topic.')
    IMAGE_MESSAGE = (
        'I20_message', 'The bytes of a message are damaged.',
        'A publisher of another version or language that serialises wrongly, or a damaged link.',
        'Look at who publishes on the topic: ros2 topic info -v.')
    NO_INTRINSICS = (
        'I21_no_intrinsics',
        'The focal length of the camera is unknown; depth and motion stand on an assumed one (a '
        'warning).', 'No camera_info has arrived, or it holds no calibration.',
        'Publish camera_info with a calibration; depth then gets the scale of this camera.')
    INFO_MISMATCH = (
        'I22_info_mismatch', 'The camera_info belongs to another image size; depth is withheld.',
        'The calibration was made at another resolution, or for another camera.',
        'Calibrate at the resolution that is published, or let the driver scale its camera_info.')

    INFO_ODD = (
        'I23_info_odd', 'Something about the camera_info is odd (a warning); a part of it counts.',
        "K is 0 and P is not, K and P contradict each other, or its frame_id is not the image's.",
        'Look at the driver; "ros2 topic echo --once camera_info" shows what it says.')
    INFO_UNUSABLE = (
        'I24_info_unusable', 'The camera_info cannot be believed; depth stands on an assumed '
        'focal length (a warning).',
        'Numbers that are not finite, an impossible focal length, or an unknown distortion model.',
        'Calibrate the camera; "mtl doctor --calibration FILE" says what is wrong with a file.')
    IMAGE_FIT = (
        'I25_fit', 'An image cannot be shown to the network as input.fit and input.roi ask.',
        'input.roi reaches outside of the image, or lies where a rectified image shows nothing; '
        'or the image is so long that it would need too many tiles.',
        'Give input.roi in pixels of the images that arrive; take a part of a very long image, or '
        'set input.fit to crop or squeeze.')
    NOT_ANCHORED = (
        'I26_not_anchored', 'The scale of depth could not be measured for 5 s (a warning); the '
        'last one counts on, and before the first one that of the network.',
        'depth.scale is height and too little road is seen, or what is seen is no plane; or it is '
        'odometry and none arrives, or the robot has not moved yet.',
        'Look at the semantic mask: is the road called road? For odometry, look at its topic and '
        'motion.camera_pose. depth.scale network never measures.')

    HEIGHT_ODD = (
        'I27_height', 'The frames of the robot tell a height of the camera that cannot be (a '
        'warning); it is not used.',
        'depth.ground_frame is not on the ground, the camera is missing in the robot description, '
        'or its joint has millimetres for metres.',
        'Compare "ros2 run tf2_ros tf2_echo base_footprint CAMERA_FRAME" with the robot; set '
        'depth.camera_height to the height, or depth.ground_frame to nothing.')

    # time

    TIME_BACKWARDS = (
        'T01_backwards', 'The stamp of an image is earlier than that of the one before.',
        'Two publishers on one topic, a recording that starts again, or a clock that was set.',
        'Look for a second publisher with "ros2 topic info -v"; a restart is detected.')
    TIME_DUPLICATE = (
        'T02_duplicate', 'An image arrived twice.',
        'Two publishers, or one that sends each message twice.',
        'Look for a second publisher with "ros2 topic info -v".')
    TIME_SILENCE = (
        'T03', 'No image has arrived for longer than camera_timeout.',
        'The driver has stopped, or the network between it and the node is down.',
        'Look at the driver; raise camera_timeout for a camera that is slow on purpose.')
    TIME_ZERO = (
        'T04_zero_stamp', 'The stamp of an image is 0 (a warning); motion is unknown.',
        'The driver does not set header.stamp.',
        'Set header.stamp to the time of the exposure where the image is published.')
    TIME_STALE = (
        'T05_stale', 'An image was older than max_age when it arrived.',
        'A slow link, a queue on the way, or clocks that disagree.',
        'Synchronise the clocks; set max_age to 0 for recordings, or use use_sim_time.')
    TIME_FUTURE = (
        'T05_future', 'The stamp of an image lies in the future (a warning).',
        'The clocks of camera and robot disagree.', 'Synchronise the clocks (chrony, PTP).')
    TIME_INVALID = (
        'T06_stamp_invalid', 'The stamp of an image is not a time.',
        'nanosec is 1000000000 or more, or sec is negative.',
        'Mend header.stamp where the image is published.')
    TIME_NO_CLOCK = (
        'T08', 'use_sim_time is true and no /clock has arrived.',
        'The simulator or "ros2 bag play --clock" does not run.',
        'Start it, or set use_sim_time to false.')

    # load

    SUPERSEDED = (
        'O01_superseded', 'A newer image took the place of one that was waiting.',
        'The camera is faster than the network; this is normal work.',
        'Nothing, or lower the rate, use a smaller model, or a GPU.')
    EXPIRED = (
        'O03_expired', 'An image was older than max_age when its turn came.',
        'The network is slower than max_age allows, or several cameras share it.',
        'Raise max_age, lower the rate, or use a GPU.')
    TIMEOUT = (
        'O04_timeout', 'The network did not answer within inference_timeout.',
        'The device hangs, or the machine is overloaded.',
        'Look at the load and the GPU driver; the node ends and respawns if it does not return.')
    OVERLOAD = (
        'O05_overload', 'The node does not keep up with a camera (a warning).',
        'More cameras or frames than the machine can answer, a large model, or other programs.',
        'Use a GPU, a smaller model, fewer cameras or output.size network, or accept it with '
        'the parameters diagnostics.*.')
    MEMORY = (
        'O07_memory', 'The main memory is exhausted.',
        'Other programs, or images that are very large.',
        'Free memory, or use a smaller model or image.')
    INACTIVE = (
        'L11_inactive', 'An image was waiting when the node was deactivated.',
        'The lifecycle transition; this is normal work.', 'Nothing.')
    INTERNAL = (
        'E00_internal', 'An error that the package did not expect.',
        'A fault of the package or of a library.',
        'Report it with the traceback from the log; the node goes on.')

    # graph and parameters

    NO_PUBLISHER = (
        'G01', 'Nobody publishes on the image topic.',
        'The driver does not run, or publishes under another name or domain.',
        'Compare "ros2 topic list" with image_topic, namespace and ROS_DOMAIN_ID.')
    QOS_MISMATCH = (
        'G03', 'A publisher of the topic cannot be heard.',
        'It offers best_effort or volatile; reliable or transient_local is asked for.',
        'Set image_reliability to auto or best_effort, or what qos_overrides says of the topic.')
    FOREIGN_TYPE = (
        'G04', 'The topic carries another message type.',
        'image_topic names a topic that is not an image, or compressed and raw are mixed up.',
        'Set image_topic, or image_transport to raw or compressed.')
    TWO_PUBLISHERS = (
        'G05', 'Several nodes publish on one image topic (a warning).',
        'A driver was started twice, or a recording plays beside the camera.', 'Stop one of them.')
    NODE_NAME = (
        'G08_node_name', 'Several nodes have one name (a warning).',
        'The node was started twice, or an earlier one still runs.',
        'End one of them, or give each its namespace; "ros2 node list" shows them. Parameters, '
        'services and transitions reach any of them until then.')
    CANNOT_SUBSCRIBE = (
        'G06', 'The node cannot subscribe to a topic.',
        'The topic exists in this process with another type, or its name is wrong.',
        'Choose another image_topic or camera_info_topic.')
    BAD_TOPIC_NAME = (
        'G10', 'The topics of a camera cannot be created.',
        'The name of the camera is no valid ROS name.',
        'Use letters, digits and underscores in cameras, not beginning with a digit.')
    BAD_PARAMETER = (
        'P01', 'A parameter has a wrong name, type or value.',
        'A typing error in the parameter file or on the command line.',
        'See docs/parameters.md for what each parameter may be.')

    # models and checkpoints

    MODEL_UNREADABLE = (
        'M01', 'A model, checkpoint or journal is missing or cannot be read.',
        'A wrong path, a missing file of those that belong together, or no permission.',
        'Check the path; keep NAME.safetensors, NAME.json and NAME.motion together.')
    MODEL_FOREIGN = (
        'M02', 'A file is not what it should be, or is cut short.',
        'An interrupted download, an HTML page or a Git LFS pointer in place of the file.',
        'Copy or export the file again.')
    MODEL_CHANGED = (
        'M03', 'The sha256 of a file is not the one on record.',
        'The file was damaged or exchanged.', 'Copy or export the model again, with its manifest.')
    MODEL_TOO_BIG = (
        'M05', 'A model claims larger tensors or images than are allowed.',
        'A damaged or malicious file.', 'Do not use it; take one from a source that you trust.')
    MODEL_ARCHITECTURE = (
        'M06', 'Weights do not fit the network, or a run does not fit its recipe.',
        'Another encoder, other tasks or classes, or another version wrote the file.',
        'Use the recipe and the version that the file was made with, or train again.')
    MANIFEST_INVALID = (
        'M07', 'A manifest is missing, invalid, or belongs to other weights.',
        'NAME.json was edited, or two models were mixed.',
        'Copy NAME.json and NAME.safetensors from the same export.')
    WEIGHTS_NOT_FINITE = (
        'M08', 'A weight is not finite.',
        'The training diverged.', 'Use an earlier checkpoint; lower the learning rate.')
    OUTPUT_NOT_FINITE = (
        'M09_nonfinite', 'The network answered without a finite number.',
        'A damaged model, or a precision that is too low for it.',
        'Set precision to fp32; export the model again.')
    OUTPUT_INVALID = (
        'M10_output', 'The network answered with a wrong shape or an impossible value.',
        'An engine or a model that does not belong to its manifest.', 'Export the model again.')
    EXPORT_DIFFERS = (
        'M11', 'Stored weights answer differently from the trained ones.',
        '16-bit storage is too coarse for this network.', 'Export with --export-precision fp32.')

    # devices

    DEVICE_MISSING = (
        'D01', 'The device does not exist on this machine, or cannot be used.',
        'No CUDA, a torch without CUDA or without kernels for this GPU, a GPU number that is too '
        'high, or fp16 on a CPU.',
        'Set device to auto or cpu, or install a driver and a torch built for it.')
    DEVICE_MEMORY = (
        'D02_oom', 'The memory of the GPU is exhausted.',
        'Other programs on the GPU, or a model or image that is too large.',
        'Free the GPU, use a smaller model, or set device to cpu.')
    DEVICE_LOST = (
        'D03_device', 'The GPU has failed and cannot be used in this process any more.',
        'A driver error or a hardware fault.',
        'The process ends to be started again; look at dmesg if it happens repeatedly.')
    RANK_LOST = (
        'D04', 'The connection to another rank of a training broke.',
        'Another rank ended; its output says why.', 'Mend the cause, then go on with --resume.')

    # recordings and data

    BAG_UNREADABLE = (
        'B01', 'A recording cannot be read, or is cut short.',
        'The recorder was killed, the disk was full, or the file is not a rosbag2.',
        'Use --allow-truncated for what is whole; "ros2 bag reindex" may help.')
    BAG_DAMAGED = (
        'B02', 'A part or message of a recording is damaged.',
        'A disk error or an interrupted copy.',
        'Copy the recording again, or use --allow-truncated.')
    BAG_TOPIC_MISSING = (
        'B03', 'A recording lacks a topic that is needed.',
        'It was not recorded, or stands under another namespace.',
        'Give --namespace, or record the topics that the message names.')
    BAG_STAMPS = (
        'B04', 'Stamps of images, answers and labels do not match.',
        'header.stamp was not kept, or different clocks made them.',
        'Allow a difference with --slop, or copy header.stamp from the image.')
    BAG_MESSAGE = (
        'B05', 'A recorded message is not what its type promises.',
        'A damaged message, or another version of the type.',
        'Leave the topic out, or record it again.')
    BAG_STORAGE = (
        'B06', 'The storage of a recording is not supported or incomplete.',
        'A part is missing, compressed by itself, or written by another storage plugin.',
        'Name the folder of the recording, or convert it with "ros2 bag convert".')
    BAG_BOMB = (
        'B09', 'A compressed part would unpack to an unreasonable size.',
        'A damaged or malicious file.', 'Do not use it.')
    TOO_MANY_BAD = (
        'R04', 'Too many samples of a data set cannot be read.',
        'A wrong root folder or an incomplete download.',
        'Look at the named files; "mtl data check" lists all of them.')


_BY_VALUE = {code.value: code for code in ReasonCode}


def explain(text: str) -> str | None:
    """
    Return what is known of a code, None if there is no such code.

    :param text: a code such as ``T05_stale``, with or without what follows the ``_``.
    """
    found = [code for code in ReasonCode if text in (code.value, code.value.split('_')[0])]
    return '\n\n'.join(
        f'{code}: {code.meaning}\n  cause: {code.cause}\n  cure:  {code.cure}'
        for code in found) or None


def code_in(text: str) -> ReasonCode | None:
    """Return the first reason code that a text names, None if it names none."""
    words = (word.strip('[](),.:;') for word in text.split())
    return next((_BY_VALUE[word] for word in words if word in _BY_VALUE), None)
