"""The program of docs/onnx.md gives the service's answers, without the service and without PyTorch."""

import json
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from models.backbone import load_backbone
from service.client import Filopodia, LabelledImage
from service.intake.forms import RESAMPLED
from service.intake.images import ImageLimits, decode_image
from tests.alone import run_alone
from tests.factories import make_image

PROGRAM = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
OLDER = {"draft_side": 720, "shrink_side": 384, "shrink_gap": 3.0}
LIMITS = ImageLimits(48 * 1024 * 1024, 100_000_000)
REFUSED = frozenset({"torch", "timm", "service", "models", "registry"})


def photo(width, height, *, format, mode="RGB", turn=None, seed=0, **how):
    """Return a file that shows something smooth, which resizing keeps, with something fine on it, which it does not."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    pixels = (pixels + rng.integers(-20, 20, (height, width, 1))).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    elif mode == "P":
        image = image.quantize(64)
    elif mode != "RGB":
        image = image.convert(mode)
    exif = Image.Exif()
    if turn is not None:
        exif[0x0112] = turn
    out = BytesIO()
    image.save(out, format=format, exif=exif, **how)
    return out.getvalue()


PHOTOS = {
    "small.png": photo(70, 50, format="PNG"),
    "as-large-as-it-gets.png": photo(384, 500, format="PNG", seed=1),
    "screen.jpg": photo(1000, 750, format="JPEG", quality=90, seed=2),
    "upright.jpg": photo(750, 1000, format="JPEG", turn=6, seed=3),
    "mirrored.jpg": photo(1700, 1501, format="JPEG", turn=5, seed=4),
    "phone.jpg": photo(4000, 3000, format="JPEG", turn=8, progressive=True, seed=5),
    "wide.webp": photo(2600, 300, format="WEBP", seed=6),
    "see-through.png": photo(900, 700, format="PNG", mode="RGBA", seed=7),
    "grey.jpg": photo(801, 603, format="JPEG", mode="L", seed=8),
    "colours.gif": photo(640, 480, format="GIF", mode="P", seed=9),
    "large.png": photo(2500, 2000, format="PNG", seed=10),
    "odd.jpg": photo(1153, 1151, format="JPEG", seed=11),
    "very-large.jpg": photo(6001, 4801, format="JPEG", seed=12),
    "heron.png": make_image("heron", 77, size=64),
}


@pytest.mark.parametrize("text", ["onnx.md"], indirect=True)
def test_the_program_answers_as_the_service_does(text, service, tmp_path):
    [program] = PROGRAM.findall(text)
    assert program.count("\n") <= 41
    files = []
    for name, data in PHOTOS.items():
        files.append(tmp_path / name)
        files[-1].write_bytes(data)
    key = (Path("filopodia-data") / "admin.key").read_text().strip()
    with Filopodia(service, key) as client:
        client.create_learner("fruit", backbone="bundled")
        images = [
            LabelledImage(make_image(label, i, size=64), label)
            for label in ("heron", "egret", "stork")
            for i in range(8)
        ]
        client.learn_images("fruit", images).wait(timeout_s=120)
        model = client.save_onnx("fruit", 1, tmp_path / "fruit.onnx")
        answers = [client.predict("fruit", [(f.name, f.read_bytes())])["results"][0] for f in files]

    lines = run(program, model, tmp_path)
    assert [line[0] for line in lines] == list(PHOTOS)
    for (name, label, score, novelty, known), answer in zip(lines, answers, strict=True):
        assert label == answer["label"], name
        assert float(score) == pytest.approx(answer["score"], abs=1e-4), name
        assert float(novelty) == pytest.approx(answer["novelty"], abs=1e-3), name
        assert (known == "True") == answer["known"], name

    facts, session = say_of_an_older_learner(model), onnxruntime.InferenceSession(model)
    for name, label, score, *_ in run(program, model, tmp_path):
        seen = decode_image(PHOTOS[name], LIMITS, RESAMPLED).pixels
        pixels = load_backbone("bundled").preprocess(seen).permute(1, 2, 0).numpy()
        [scores], _, _, _ = session.run(None, {"images": pixels[None]})
        assert label == facts["labels"][scores.argmax()], name
        assert float(score) == pytest.approx(scores.max(), abs=1e-4), name


def run(program, model, folder):
    """Run the program on all photos, and return the words of each of its lines."""
    done = run_alone(program, model.name, *PHOTOS, cwd=folder, refused=REFUSED)
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def say_of_an_older_learner(path):
    """Let a file say that its learner is from before images were halved; return what it says."""
    model = onnx.load(path)
    said = {entry.key: entry.value for entry in model.metadata_props}
    how = json.loads(said["preprocessing"])
    del how["halve_side"]
    said["preprocessing"] = json.dumps(how | OLDER)
    onnx.helper.set_model_props(model, said)
    onnx.save(model, path)
    return {key: json.loads(value) for key, value in said.items()}
