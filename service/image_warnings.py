"""What the warnings of a prediction say in words, for the command line and the dashboard."""

IMAGE_WARNINGS = {
    "first_frame_used": "The file holds several images: only the first was looked at.",
    "blank": "The image is of one colour, or transparent: the answer means nothing.",
    "little_detail": "The image shows next to nothing (a covered lens, a plain wall?): do not trust the answer.",
}


def image_warning(code: str) -> str:
    """Return a warning in words; the code itself if it comes from a newer service.

    Example:
        >>> image_warning("first_frame_used")
        'The file holds several images: only the first was looked at.'
    """
    return IMAGE_WARNINGS.get(code, code)
