"""Has a capture judged by tshark's DNP3 dissector, where tshark is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from protocols.dnp3.application import Response, parse_objects
from protocols.dnp3.link import LinkParser
from protocols.dnp3.transport import Reassembler
from protocols.pcap import DNP3_PORT, read_segments, streams

TSHARK = shutil.which("tshark")
WHY_SKIPPED = "tshark is not installed: apt-get install tshark, or any Wireshark"


def judge(capture: Path) -> int:
    """Checks every frame of a capture; the number of link frames. AssertionError with what is wrong.

    Our own reader judges the fragments joined from segments: tshark 4.0 joins a segment to one 64 older with the same number, and
    then reports false damage, so its verdict is taken on frames and on fragments of one segment.
    """
    count = 0
    for (source, _), octets in streams(read_segments(capture)).items():
        parser, reassembler = LinkParser(), Reassembler(1 << 16)
        for frame in parser.feed(octets):
            count += 1
            fragment = reassembler.receive(frame.user_data) if frame.user_data else None
            if fragment is not None and source[1] == DNP3_PORT:
                parse_objects(Response.decode(fragment).objects, with_data=True)
        assert parser.counts.bad_crc == parser.counts.bad_length == parser.counts.skipped_octets == 0, parser.counts
        assert reassembler.discarded == 0
    assert count, "an empty capture proves nothing"
    if TSHARK is not None:
        wrong = dissect(capture, "dnp3.hdr.CRC.incorrect || dnp3.data_chunk.CRC.incorrect")
        assert wrong == [], wrong[:3]
        damaged = dissect(capture, "_ws.malformed && !(dnp3.al.fragment.count > 1)")
        assert damaged == [], damaged[:3]
        strange = dissect(capture, "tcp.len > 0 && !dnp3")
        assert strange == [], f"not recognised as DNP3, as frames with a wrong header check word are not: {strange[:3]}"
    return count


def dissect(
    capture: Path,
    display_filter: str,
    fields: tuple[str, ...] = ("frame.number", "dnp3.al.func", "dnp3.al.obj", "_ws.expert.message"),
) -> list[dict[str, list[str]]]:
    """The fields of the packets that pass a display filter, each a list of texts."""
    assert TSHARK is not None
    command = [TSHARK, "-r", str(capture), "-Y", display_filter, "-T", "json"]
    command += [part for name in fields for part in ("-e", name)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [packet["_source"]["layers"] for packet in json.loads(result.stdout or "[]")]
