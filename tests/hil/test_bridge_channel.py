"""The shared memory between bridge and gatekeeper: no torn reading is ever taken, no message lost or repeated."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import numpy as np
import pytest

from hil.channel import Channel, Frame, Word

SIZE = 400


def _write(path: str, stop_s: float) -> None:
    """Another process: frames of one number each, as fast as it can, and a message now and then."""
    channel = Channel(Path(path), SIZE, 3, make=False)
    number, end_s = 0, time.monotonic() + stop_s
    sent = 0
    while time.monotonic() < end_s:
        number += 1
        quality = np.full(SIZE, number % 7, np.uint16)
        channel.put_inward(Frame(np.full(SIZE, float(number)), np.full(SIZE, number, np.int64), quality))
        if channel.send_to_bridge({"n": sent}):
            sent += 1
    channel.set(Word.OVERRUNS, sent)
    channel.set(Word.REFUSED, number)


def test_a_frame_is_whole_or_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "dev.channel"
    channel = Channel(path, SIZE, 3, make=True)
    writer = multiprocessing.get_context("spawn").Process(target=_write, args=(str(path), 1.5))
    writer.start()
    seen, messages = [], []
    while writer.is_alive():
        frame = channel.inward()
        messages += channel.take_for_bridge()
        if frame is not None:
            numbers = set(frame.values.tolist()) | set(frame.measured_ns.astype(float).tolist())
            assert len(numbers) == 1
            assert set(frame.quality.tolist()) == {int(next(iter(numbers))) % 7}
            seen.append(next(iter(numbers)))
    messages += channel.take_for_bridge()
    assert len(set(seen)) > 20 and seen == sorted(seen)
    assert [message["n"] for message in messages] == list(range(channel.get(Word.OVERRUNS)))


def test_a_full_ring_refuses_and_goes_on(tmp_path: Path) -> None:
    gate = Channel(tmp_path / "c", 1, 1, make=True)
    bridge = Channel(tmp_path / "c", 1, 1, make=False)
    accepted = [n for n in range(300) if bridge.send_to_device({"n": n})]
    assert accepted == list(range(256))
    assert [message["n"] for message in gate.take_for_device()] == accepted
    assert gate.take_for_device() == []
    assert bridge.send_to_device({"n": 300}) and gate.take_for_device() == [{"n": 300}]
    with pytest.raises(ValueError, match="bytes"):
        bridge.send_to_device({"text": "x" * 2000})


def test_what_is_torn_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "c"
    gate = Channel(path, 4, 0, make=True)
    assert gate.inward() is None
    gate.put_inward(Frame(np.arange(4.0), np.arange(4), np.zeros(4, np.uint16)))
    octets = bytearray(path.read_bytes())
    at = octets.index(np.float64(3.0).tobytes())
    octets[at] ^= 1
    with path.open("r+b") as file:
        file.write(octets)
    assert gate.inward() is None


def test_the_memory_of_another_map_is_refused(tmp_path: Path) -> None:
    Channel(tmp_path / "c", 4, 2, make=True)
    with pytest.raises(ValueError, match="another point map"):
        Channel(tmp_path / "c", 5, 2, make=False)
    with pytest.raises(FileNotFoundError):
        Channel(tmp_path / "none", 4, 2, make=False)
