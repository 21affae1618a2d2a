"""Measures what a Matroska or WebM file holds beside its frames, before FFmpeg reads it.

FFmpeg keeps every cue, tag, chapter and attachment, at up to 34 times its bytes: 5 MB of them took 173 MB. Cameras and
browsers write a few hundred bytes, so their sum is limited. The walk goes from element to element as FFmpeg does, and
to where the file's table of contents (SeekHead) leads. Where FFmpeg could lose its way and go on with the next element
that it knows by name, as after damage, all elements behind that place are looked for by their names too.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from liveness_core.video.limits import VideoLimitError, VideoLimits, VideoUnreadableError

_SEGMENT, _CLUSTER = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
_SEEK_HEAD, _TRACKS = b"\x11\x4d\x9b\x74", b"\x16\x54\xae\x6b"
_INFO, _CUES, _TAGS = b"\x15\x49\xa9\x66", b"\x1c\x53\xbb\x6b", b"\x12\x54\xc3\x67"
_ATTACHMENTS, _CHAPTERS = b"\x19\x41\xa4\x69", b"\x10\x43\xa7\x70"
_KEPT: Final = frozenset((_SEEK_HEAD, _TRACKS, _INFO, _CUES, _TAGS, _ATTACHMENTS, _CHAPTERS))
_VOID, _CRC = b"\xec", b"\xbf"
_SEEK_POSITION, _TRACK, _TRACK_NUMBER, _ENCODINGS = b"\x53\xac", b"\xae", b"\xd7", b"\x6d\x80"
_SIMPLE_BLOCK, _BLOCK_GROUP, _BLOCK = b"\xa3", b"\xa0", b"\xa1"
_IN_CLUSTER: Final = frozenset((b"\xe7", b"\xa7", b"\xab", _CRC))  # numbers: time, position, size of the one before
_LACING: Final = 0x06
_SHARE: Final = 32
"""By how much the limit on header bytes is smaller here than in MP4, whose tables FFmpeg keeps at their size."""


class _Element(NamedTuple):
    name: bytes
    start: int
    """Where its content begins."""
    end: int | None
    """Where it ends, which may be behind the file's end; None where the file does not say."""


def check_elements(content: bytes, limits: VideoLimits) -> None:
    """Refuse a file that holds too much beside its frames.

    Raises:
        VideoLimitError: too many bytes outside of clusters, too many elements, or too many tracks.
        VideoUnreadableError: the frames are compressed once more, which no camera does: a few bytes become 10 MB.
    """
    _Walk(content, limits).file()


@dataclass
class _Walk:
    content: bytes
    limits: VideoLimits
    elements: int = 0
    kept_bytes: int = 0
    streams: int = 0
    tracks: set[int] = field(default_factory=set)
    seen: set[int] = field(default_factory=set)
    """Where the elements that were counted begin."""
    first: int = 0
    """Where the segment's content begins; positions in the file are counted from there."""

    def file(self) -> None:
        """Walk through the file."""
        at = 0
        while (element := self._element(at)) is not None and element.name != _SEGMENT:
            self._keep(element)
            if element.end is None:
                return
            at = element.end
        if element is None:
            self._look_for_names(at)
            return
        self.first = at = element.start
        while at < len(self.content):
            element = self._element(at)
            if element is None or (element.end is None and element.name != _CLUSTER):
                self._look_for_names(at)
                return
            if element.name == _CLUSTER:
                broken_at, at = self._cluster(element)
                if broken_at is not None:
                    self._look_for_names(broken_at)
                    return
                continue
            if element.name != _VOID:
                self._keep(element)
            at = element.end or len(self.content)

    def _cluster(self, cluster: _Element) -> tuple[int | None, int]:
        """Where FFmpeg could lose its way in a cluster, None if nowhere; and where the cluster ends."""
        end = len(self.content) if cluster.end is None else cluster.end
        at = cluster.start
        while at < min(end, len(self.content)):
            child = self._element(at)
            if child is not None and cluster.end is None and child.name in (*_KEPT, _CLUSTER):
                return None, at
            if child is None or child.end is None or child.end > min(end, len(self.content)):
                return at, end
            if not self._is_sound(child):
                return at, end
            at = child.end
        return None, end

    def _is_sound(self, child: _Element) -> bool:
        """Whether FFmpeg surely passes over a cluster's element, whatever bytes it has."""
        size = (child.end or 0) - child.start
        if child.name == _BLOCK_GROUP:
            return all(
                self._is_sound_block(part) if part.name == _BLOCK else (part.end or len(self.content)) - part.start <= 8
                for part in self._children(child)
            )
        if child.name == _SIMPLE_BLOCK:
            return self._is_sound_block(child)
        return child.name == _VOID or (child.name in _IN_CLUSTER and size <= 8)

    def _is_sound_block(self, block: _Element) -> bool:
        """Whether it is a frame of a known track, alone in its block."""
        head = self.content[block.start : block.start + 4]
        return len(head) == 4 and head[0] & 0x7F in self.tracks and head[0] >= 0x80 and not head[3] & _LACING

    def _keep(self, element: _Element) -> None:
        """Count an element that FFmpeg keeps, and those that it leads to, which may lead to others."""
        pending = [element]
        while pending:
            found = pending.pop()
            if found.start not in self.seen:
                pending += self._counted(found)

    def _counted(self, element: _Element) -> list[_Element]:
        """Count an element; returns those that it leads to."""
        self.seen.add(element.start)
        end = min(len(self.content) if element.end is None else element.end, len(self.content))
        self.kept_bytes += end - element.start
        allowed = self.limits.max_header_bytes // _SHARE
        if self.kept_bytes > allowed:
            raise VideoLimitError("header bytes", allowed)
        if element.name == _TRACKS:
            self._count_tracks(element)
        if element.name != _SEEK_HEAD:
            return []
        places = _places(self.content, _SEEK_POSITION, element.start, end)
        numbers = (self.content[place + 1 : place + 1 + (self.content[place] & 0x7F)] for place in places)
        targets = (self._element(self.first + int.from_bytes(number)) for number in numbers)
        return [target for target in targets if target is not None and target.name in _KEPT]

    def _count_tracks(self, element: _Element) -> None:
        for track in self._children(element):
            if track.name != _TRACK:
                continue
            self.streams += 1
            if self.streams > self.limits.max_streams:
                raise VideoLimitError("streams", self.limits.max_streams)
            for part in self._children(track):
                if part.name == _ENCODINGS:
                    raise VideoUnreadableError("its frames are compressed once more")
                if part.name == _TRACK_NUMBER:
                    self.tracks.add(int.from_bytes(self.content[part.start : part.end]))

    def _children(self, parent: _Element) -> Iterator[_Element]:
        end = min(len(self.content) if parent.end is None else parent.end, len(self.content))
        at = parent.start
        while at < end and (child := self._element(at)) is not None:
            yield child
            at = end if child.end is None else child.end

    def _look_for_names(self, at: int) -> None:
        """Count all elements from here on that FFmpeg would find by their names."""
        for name in sorted(_KEPT):
            for place in _places(self.content, name, at, len(self.content)):
                if (element := self._element(place - len(name))) is not None:
                    self._keep(element)

    def _element(self, at: int) -> _Element | None:
        """The element that begins here; None where none does.

        Raises:
            VideoLimitError: there were too many before.
        """
        self.elements += 1
        if self.elements > self.limits.max_boxes:
            raise VideoLimitError("boxes", self.limits.max_boxes)
        name_bytes = self._length(at)
        size_bytes = self._length(at + name_bytes)
        if not 1 <= name_bytes <= 4 or not size_bytes:
            return None
        start = at + name_bytes + size_bytes
        size = int.from_bytes(self.content[at + name_bytes : start]) & ((1 << 7 * size_bytes) - 1)
        is_unknown = size == (1 << 7 * size_bytes) - 1
        return _Element(self.content[at : at + name_bytes], start, None if is_unknown else start + size)

    def _length(self, at: int) -> int:
        """Number of bytes of the number with a length in front that begins here; 0 where none does."""
        first = self.content[at] if 0 <= at < len(self.content) else 0
        length = 9 - first.bit_length()
        return length if first and at + length <= len(self.content) else 0


def _places(content: bytes, name: bytes, start: int, end: int) -> Iterator[int]:
    """Where something begins behind each of these names."""
    at = content.find(name, start, end)
    while 0 <= at < end - len(name):
        yield at + len(name)
        at = content.find(name, at + 1, end)
