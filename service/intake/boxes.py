"""The boxes that HEIC and AVIF files consist of: whether the last one is all there.

Their decoders give what they have of a file that ends early, or call it damaged.
"""

_KNOWN = {b"ftyp", b"meta", b"mdat", b"moov", b"idat", b"free", b"skip", b"wide", b"uuid", b"pdin"}
"""What an image consists of. Anything else lies behind it, like the video of a motion photo."""


def is_cut_off(data: bytes) -> bool:
    r"""Return whether a box of the image ends behind the end of the file.

    Example:
        >>> is_cut_off(b"\0\0\0\x0cmdat1234"), is_cut_off(b"\0\0\0\x0cmdat123")
        (False, True)
    """
    at = 0
    while at + 8 <= len(data) and data[at + 4 : at + 8] in _KNOWN:
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 0:
            return False
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        at += max(size, 8)
    return at > len(data)
