"""How much an archive may unpack to: what a task may have, and not much more than it is packed in."""

from service.problems import Problem

FREE_BYTES = 64 * 1024 * 1024
"""Any archive may unpack to so much: small drawings without compression are packed a thousand to one."""
MAX_RATIO = 100
"""Beyond that, bytes unpacked for each byte packed. Photos are packed about one to one."""


class Allowance:
    """Counts what one archive unpacks to, and refuses it as soon as that is too much.

    Args:
        packed_bytes: Size of the archive.
        max_bytes: Most it may unpack to, however large it is.
    """

    def __init__(self, packed_bytes: int, max_bytes: int) -> None:
        self._by_ratio = FREE_BYTES + MAX_RATIO * packed_bytes
        self._max_bytes = max_bytes
        self._spent = 0

    def spend(self, n_bytes: int) -> None:
        """Count bytes that are about to be unpacked, or were.

        Raises:
            Problem: `archive-rejected`.
        """
        self._spent += n_bytes
        self.require(self._spent)

    def require(self, n_bytes: int) -> None:
        """Refuse an archive that unpacks to so much in all.

        Raises:
            Problem: `archive-rejected`.
        """
        if n_bytes > self._max_bytes:
            raise Problem("archive-rejected", "The archive unpacks to more than a task may have.")
        if n_bytes > self._by_ratio:
            detail = (
                f"The archive unpacks to more than {FREE_BYTES >> 20} MiB and {MAX_RATIO} times its size, as photos "
                "never do: save images that are not compressed as PNG, and pack those."
            )
            raise Problem("archive-rejected", detail)
