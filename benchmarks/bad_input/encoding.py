"""Images as bytes."""

import io

from PIL import Image


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    """Return an image in a format of Pillow."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()
