import io

from PIL import Image

from service.image_warnings import IMAGE_WARNINGS


def test_an_image_of_one_colour_is_answered_with_a_warning(client, taught):
    plain = io.BytesIO()
    Image.new("RGB", (32, 32), "white").save(plain, "PNG")
    form = {"image": ("white.png", plain.getvalue(), "image/png")}
    text = client.post("/admin/learners/birds/try", files=form).text
    assert IMAGE_WARNINGS["blank"] in text
