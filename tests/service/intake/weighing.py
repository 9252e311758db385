"""What an image weighs, for tests."""

from service.intake.forms import HALVED
from service.intake.images import ImageLimits, weigh_image

LIMITS = ImageLimits(48 * 1024 * 1024, 100_000_000)


def work(data):
    return weigh_image(data, LIMITS, HALVED).work
