"""What a recording's file says of its own size, looked at before a library believes it.

Readers of WAV and AIFF give what is there of a cut file without a word, and nothing of one whose header says 0. Here
the chunks are walked: `whole` gives bytes that a library reads to their end, or says what is wrong.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

UNKNOWN = 0xFFFF0000  # sizes from here on, and 0, are what recorders write that do not know the size at the start
AFTER = (b"LIST", b"id3 ", b"ID3 ", b"bext", b"cue ", b"fact")  # chunks that may stand behind the samples
W64 = b"riff.\x91\xcf\x11\xa5\xd6(\xdb\x04\xc1\x00\x00"
# kbit/s by the bits of an MP3 frame's header, layer III, of MPEG 1 and of MPEG 2 and 2.5; and Hz of MPEG 1
RATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
RATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
HERTZ = (44100, 48000, 32000)


class Damaged(Exception):
    """The message is the reason, in a few words."""


def whole(data: bytes) -> bytes:
    """`data`, or the same recording with a header that fits it. Damaged where it was cut."""
    head = data[:4]
    if head in (b"RIFF", b"RIFX", b"RF64"):
        return _wave(data)
    if head == b"FORM":
        _aiff(data)
    elif data.startswith(W64):
        _wave64(data)
    elif (start := _first_frame(data)) is not None:
        return _mp3(data, start)
    return data


def _wave(data: bytes) -> bytes:
    order = ">" if data[:4] == b"RIFX" else "<"
    total = struct.unpack(f"{order}I", data[4:8])[0] if len(data) >= 12 else 0
    if data[:4] != b"RF64" and 0 < total < UNKNOWN and total + 8 > len(data) + 1:  # the last byte of padding may lack
        raise Damaged("truncated")
    found = {name: (place, size) for name, place, size in _chunks(data, order)}
    if b"fmt " not in found or found[b"fmt "][1] < 16:
        return data  # the library says that it is no audio
    place, size = found[b"fmt "]
    if struct.unpack(f"{order}I", data[place + 4 : place + 8])[0] == 0:
        raise Damaged("of a sample rate of 0")
    if b"data" not in found:
        raise Damaged("truncated" if len(data) < 4096 else "without a data chunk")
    begin, announced = found[b"data"]
    there = len(data) - begin
    if data[:4] == b"RF64" and announced >= UNKNOWN and b"ds64" in found:
        announced = struct.unpack("<Q", data[found[b"ds64"][0] + 8 : found[b"ds64"][0] + 16])[0]
    if announced == 0 and data[begin : begin + 4] in AFTER:
        return data  # it is empty indeed, and other chunks follow
    known = 0 < announced < UNKNOWN
    if known and announced > there + 1 and total + 8 != len(data):
        raise Damaged("truncated")
    if data[:4] != b"RF64" and (not known or begin % 2):  # no library looks for a chunk at an odd place
        length = announced if known and announced <= there else there
        return _rebuilt(data, order, (place, size), (begin, length))
    return data


def _chunks(data: bytes, order: str) -> Iterator[tuple[bytes, int, int]]:
    """(name, place of the content, announced size); an odd chunk whose byte of padding is missing is seen through."""
    place = 12
    while place + 8 <= len(data):
        name, size = struct.unpack(f"{order}4sI", data[place : place + 8])
        yield name, place + 8, size
        if name == b"data":
            return
        end = place + 8 + size
        place = end if size % 2 and data[end : end + 4] in (b"data", b"fmt ", b"LIST", b"fact") else end + size % 2


def _rebuilt(data: bytes, order: str, form: tuple[int, int], samples: tuple[int, int]) -> bytes:
    """A plain WAV of the format and the samples, each as (place, bytes)."""
    parts = [(b"fmt ", data[form[0] : sum(form)]), (b"data", data[samples[0] : sum(samples)])]
    body = b"".join(name + struct.pack(f"{order}I", len(c)) + c + b"\0" * (len(c) % 2) for name, c in parts)
    head = b"RIFX" if order == ">" else b"RIFF"
    return head + struct.pack(f"{order}I", len(body) + 4) + b"WAVE" + body


def _aiff(data: bytes) -> None:
    if len(data) < 12 or struct.unpack(">I", data[4:8])[0] + 8 > len(data) + 1:
        raise Damaged("truncated")
    place = 12
    while place + 8 <= len(data):
        name, size = struct.unpack(">4sI", data[place : place + 8])
        if name == b"SSND" and place + 8 + size > len(data) + 1:
            raise Damaged("truncated")
        place += 8 + size + size % 2


def _wave64(data: bytes) -> None:
    if len(data) < 40 or _w64_ends(data) > len(data):
        raise Damaged("truncated")


def _w64_ends(data: bytes) -> int:
    """Where the file ends by what its header and its data chunk announce."""
    end, place = struct.unpack("<Q", data[16:24])[0], 40
    while place + 24 <= len(data):
        size = struct.unpack("<Q", data[place + 16 : place + 24])[0]
        if data[place : place + 4] == b"data":
            return int(max(end, place + size))
        place += max((size + 7) // 8 * 8, 24)
    return int(end)


def _first_frame(data: bytes) -> int | None:
    """Where the first of two MP3 frames in a row begins, behind an ID3 tag; None where there are none."""
    place = 0
    if data[:3] == b"ID3" and len(data) > 10:
        size = 0
        for byte in data[6:10]:
            size = size << 7 | byte & 0x7F
        place = 10 + size
    length = _frame(data, place)
    return place if length and (place + length >= len(data) or _frame(data, place + length)) else None


def _frame(data: bytes, place: int) -> int:
    """Bytes of the MP3 frame (layer III) that begins there, 0 where none does."""
    if place + 4 > len(data):
        return 0
    head = int.from_bytes(data[place : place + 4], "big")
    version, layer, rate, hertz = head >> 19 & 3, head >> 17 & 3, head >> 12 & 15, head >> 10 & 3
    if head >> 21 != 0x7FF or version == 1 or layer != 1 or rate in (0, 15) or hertz == 3:
        return 0
    first = version == 3
    frequency = HERTZ[hertz] // (1 if first else 2 if version == 2 else 4)
    return (144 if first else 72) * (RATES_1 if first else RATES_2)[rate] * 1000 // frequency + (head >> 9 & 1)


def _mp3(data: bytes, start: int) -> bytes:
    """An MP3 of changing bit rate without a Xing header gets one: its length is guessed from the first frame else."""
    first = _frame(data, start)
    if any(mark in data[start : start + first] for mark in (b"Xing", b"Info", b"VBRI")):
        return data  # which the library compares with what there is
    place, count, lengths = start, 0, set()
    while length := _frame(data, place):
        if place + length > len(data):
            raise Damaged("truncated")
        place, count = place + length, count + 1
        lengths.add(data[place - length + 2] >> 4)
    if len(lengths) == 1:
        return data
    mono = data[start + 3] >> 6 == 3
    side = (17 if mono else 32) if data[start + 1] >> 3 & 3 == 3 else (9 if mono else 17)
    header = bytearray(first)
    header[:4] = data[start : start + 4]
    header[1] |= 1  # no checksum
    tag = b"Xing" + struct.pack(">II", 1, count)
    header[4 + side : 4 + side + len(tag)] = tag
    return bytes(header[:first]) + data[start:place]
