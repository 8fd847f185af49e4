# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The diagnostics of the node: a level and a sentence per camera, counters and timings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from mtl_perception.reason_codes import ReasonCode, code_in
from mtl_perception.ros.accounting import FrameAccount
from mtl_perception.ros.qos_matching import Offer

OK, WARN, ERROR, STALE = (
    DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR, DiagnosticStatus.STALE)

RECENT_S = 5.0
"""A dropped or odd frame keeps a camera at WARN for this long, seconds."""


@dataclass(frozen=True)
class Health:
    """
    The state of a camera or of the node.

    :param level: ``OK``, ``WARN``, ``ERROR`` or ``STALE`` of ``DiagnosticStatus``.
    :param text: one sentence.
    """

    level: bytes
    text: str


def assess(
    account: FrameAccount, offer: Offer, topic: str, camera_timeout: float, active_s: float,
    now: float, metres: str = '', overloaded: str = '',
) -> Health:
    """
    Return the health of an active camera: the first of its problems, the worst first.

    :param account: its counters.
    :param offer: who publishes on its topic.
    :param topic: resolved name of its image topic.
    :param camera_timeout: seconds of silence that are an error.
    :param active_s: seconds since the node was activated.
    :param now: steady time in seconds.
    :param metres: why the metres are not those of the camera's lens, empty if they are.
    :param overloaded: what is too slow or too rare, empty if nothing is.
    """
    silence = account.silence()
    foreign = f'{topic} is published as {", ".join(offer.foreign)}' if offer.foreign else ''

    # Nothing arrives: because of the quality of service, since activation, or any more.
    if offer.unmatched:
        return Health(ERROR, f'[{ReasonCode.QOS_MISMATCH}] {topic}: {offer.unmatched}')
    if silence is None or silence > max(camera_timeout, active_s):
        return _never_heard(offer, topic, foreign)
    if silence > camera_timeout:
        return Health(ERROR, f'[{ReasonCode.TIME_SILENCE}] no frame for {silence:.1f} s on {topic}'
                             f'{"" if offer.publishers else " (0 publishers)"}')

    # Frames arrive and are dropped, all of them or some.
    if account.last_fault is not None:
        reason, when = account.last_fault
        last = account.last_published
        if (last is None or now - last > camera_timeout) and now - when <= camera_timeout:
            return Health(ERROR, f'every frame is dropped, the last one as {reason}')
        if now - when <= RECENT_S:
            return Health(WARN, f'frames are dropped, the last one as {reason}')

    # Frames are processed, but something about them is odd.
    if foreign:
        return Health(WARN, f'[{ReasonCode.FOREIGN_TYPE}] {foreign}')
    if len(offer.publishers) > 1:
        names = ', '.join(offer.publishers)
        return Health(WARN, f'[{ReasonCode.TWO_PUBLISHERS}] {topic} has '
                            f'{len(offer.publishers)} publishers: {names}')
    if warning := account.last_warning(RECENT_S):
        return Health(WARN, f'frames are odd, the last one as {warning}')
    if metres or overloaded:
        return Health(WARN, '; '.join(filter(None, (overloaded, metres))))

    arrived, published = account.rates()
    return Health(OK, f'{arrived:.1f} frames/s in, {published:.1f} out')


def _never_heard(offer: Offer, topic: str, foreign: str) -> Health:
    """Return the health of a camera that has sent nothing since activation."""
    if foreign:
        return Health(
            ERROR, f'[{ReasonCode.FOREIGN_TYPE}] {foreign}; another type is wanted there')
    if not offer.publishers:
        return Health(ERROR, f'[{ReasonCode.NO_PUBLISHER}] no publisher on {topic}')
    return Health(WARN, f'{", ".join(offer.publishers)} publishes on {topic}, no frame yet')


def camera_values(
    account: FrameAccount, resets: Mapping[str, int],
    unknown: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, str]:
    """
    Return the counters of a camera.

    :param account: of the camera.
    :param resets: how often its temporal state restarted, by reason.
    :param unknown: in how many frames motion was unknown, by reason.

    ``received`` is ``published`` plus all of ``dropped.REASON`` plus ``in_flight``, always.
    """
    counts = account.counts()
    values = {
        'received': str(counts.received), 'published': str(counts.published),
        'unheard': str(counts.unheard), 'dropped': str(sum(counts.dropped.values())),
        'in_flight': str(counts.in_flight)}

    values |= {f'dropped.{reason}': str(count) for reason, count in sorted(counts.dropped.items())}
    values |= {f'warned.{reason}': str(count) for reason, count in sorted(counts.warnings.items())}
    values |= {f'reset.{reason}': str(count) for reason, count in sorted(resets.items())}
    values |= {
        f'motion_unknown.{reason}': str(count) for reason, count in sorted(unknown.items())}
    return values


def timing_values(account: FrameAccount) -> dict[str, str]:
    """Return the percentiles of each stage, milliseconds over the last frames."""
    return {f'{stage}_ms.p{rank}': f'{value:.2f}'
            for stage, ranks in account.percentiles().items() for rank, value in ranks.items()}


def status(
    name: str, hardware_id: str, health: Health, values: Mapping[str, str],
) -> DiagnosticStatus:
    """Return one entry of a diagnostic array; a reason code in its text brings its cure."""
    code = code_in(health.text)
    if code is not None:
        values = {**values, 'cure': code.cure}
    return DiagnosticStatus(
        level=health.level, name=name, message=health.text, hardware_id=hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in values.items()])


def diagnostic_array(stamp: Time, statuses: Sequence[DiagnosticStatus]) -> DiagnosticArray:
    """Return the message of several entries."""
    message = DiagnosticArray(status=list(statuses))
    message.header.stamp = stamp
    return message
