"""The frozen vision transformer: loading, preprocessing, embedding, fingerprint.

Three sources, one class: the small ViT whose weights lie in this package (`bundled`), any timm `VisionTransformer` by
its name and pre-trained tag, from the hub or from a file the operator set, and a randomly initialised one for tests
(`tiny`).
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.adapter import Adapter
from models.background import Background
from models.background_files import (
    SUFFIX,
    BackgroundInfo,
    background_files,
    choose_background,
    read_info,
)
from models.errors import BackboneError, ShapeError
from models.passes import (
    Midway,
    finish,
    finish_to_features,
    first_difference,
    go_to,
    tokens_of,
)
from models.timm_parts import (
    BatchNormAct2d,
    Block,
    ConvNormAct,
    ConvStem,
    HybridEmbed,
    VisionTransformer,
    resample_abs_pos_embed,
    resolve_model_data_config,
    timm,
)

BUNDLED = "bundled"
TINY = "tiny"
_TINY_SIDE = 32
WEIGHTS = Path(__file__).parent / "weights"
FEW, TOGETHER = 8, 16
"""Images of one sub-network that share a pass of a graph with those of others, and images of such a pass at most: eight
under eight sub-networks take 16 ms where eight passes take 29, and beyond that a pass gains nothing more from its size,
while each image brings its weights along (measured with the bundled backbone, two threads)."""
RECOMMENDED = (
    ("vit_tiny_patch16_224.augreg_in21k_ft_in1k", "5.7 M parameters: a CPU serves it"),
    ("vit_small_patch16_224.augreg_in21k", "22 M parameters: a GPU, or a patient CPU"),
    ("vit_base_patch16_224.augreg_in21k", "86 M parameters, the papers' backbone: a GPU"),
)
Pooling = Literal["backbone", "token_and_patches"]
"""What becomes of the tokens: `backbone` is what its own head would read (mostly the class token), `token_and_patches`
that and the mean of the patch tokens side by side, from the same pass."""
_torch_jit: Any = torch.jit
_RESAMPLING = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the backbone's input. Part of the fingerprint: training and serving share it."""

    image_size: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    interpolation: str = "bicubic"
    crop: float = 1.0
    """Share of the shorter side that the centre crop keeps."""

    @property
    def resize_side(self) -> int:
        """Length in pixels that the shorter side is brought to before the crop."""
        return round(self.image_size / self.crop)


@dataclass(frozen=True)
class BackboneInfo:
    """A backbone a learner can be created with."""

    name: str
    source: str
    """`bundled`, `file` or `hub`."""
    image_size: int | None
    """Input side in pixels; None where only loading would tell."""
    description: str
    background: BackgroundInfo | None
    """What statistics of general images there are; None without any."""


class Backbone(nn.Module):
    """A frozen ViT that turns images into features, with or without a sub-network in its blocks.

    Shapes: B images, D feature width, S input side.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, vit: VisionTransformer, preprocessing: Preprocessing) -> None:
        """Freeze `vit` and take it over.

        Raises:
            BackboneError: If its blocks are not timm's plain pre-norm `Block`.
        """
        super().__init__()
        if not all(type(block) is Block for block in vit.blocks):
            raise BackboneError(f"Backbone {name} has blocks that adapters do not fit.")
        self.name = name
        self.vit = vit.eval().requires_grad_(False)
        self.preprocessing = preprocessing
        self.feature_width: int = vit.num_features
        self.depth = len(vit.blocks)
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(preprocessing.std).view(1, 3, 1, 1))
        self.fingerprint = _fingerprint(vit, preprocessing)
        self.background: Background | None = None
        """Statistics of general images; no part of the fingerprint, and on the CPU wherever the weights are."""
        self.graph: Callable[..., Tensor] | None = None
        """Where it is set, `embed`, `embed_each` and `embed_own` leave complete passes to it: the same but for
        rounding, sooner. See `models.onnx_pass.OnnxPass.__call__`."""
        _fold_norms(vit)

    @property
    def image_size(self) -> int:
        """Input side S in pixels."""
        return self.preprocessing.image_size

    @property
    def first_to_train(self) -> int:
        """Index of the first block that it pays to train a sub-network in.

        On what the bundled one was made for its last two answer as well as all of it, in half the time; a
        larger one that is made for other images needs its first ones too (`python -m benchmarks.training_pace`).
        """
        return self.depth - 2 if self.name == BUNDLED else 0

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.mean.device

    def train(self, mode: bool = True) -> "Backbone":
        """Stay in evaluation mode: a frozen backbone has no other."""
        return super().train(False)

    def preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        """Resize the shorter side, crop the centre.

        Args:
            image: Upright RGB, uint8 `(height, width, 3)`.

        Returns:
            uint8 `(3, S, S)`. Normalisation happens in `forward`, on the device.
        """
        if image.ndim != 3 or image.shape[2] != 3:
            raise ShapeError(f"An image must be (height, width, 3), not {image.shape}.")
        size = self.image_size
        picture = Image.fromarray(image)
        short = self.preprocessing.resize_side
        scale = short / min(picture.size)
        width, height = (max(short, round(side * scale)) for side in picture.size)
        if picture.size != (width, height):
            resampling = _RESAMPLING[self.preprocessing.interpolation]
            picture = picture.resize((width, height), resampling)
        left, top = (width - size) // 2, (height - size) // 2
        cropped = np.asarray(picture.crop((left, top, left + size, top + size)))
        return torch.from_numpy(cropped.copy()).permute(2, 0, 1).contiguous()

    def width_of(self, pooling: Pooling) -> int:
        """Return how many numbers an image becomes: D or 2 D."""
        return self.feature_width * (2 if pooling == "token_and_patches" else 1)

    def forward(
        self, images: Tensor, adapter: Adapter | None = None, *, pooling: Pooling = "backbone"
    ) -> Tensor:
        """Embed images: one complete pass.

        Args:
            images: `(B, 3, S, S)`, uint8 in 0..255 or float in 0..1.
            adapter: A sub-network to put in parallel to the MLPs of its blocks; None is the frozen pass h_0.
            pooling: What becomes of the tokens.

        Returns:
            Normed, pooled features, `(B, D)` or `(B, 2 D)` as `pooling` says, float32.
        """
        midway = self.begin(images, adapter, self.depth - 1)
        return self.finish(midway, adapter, pooling=pooling)

    def begin(self, images: Tensor, adapter: Adapter | None, block: int) -> Midway:
        """Pass images as far as the bottleneck of a block, counted from 0; `finish` goes on from there."""
        pixels = images / 255 if images.dtype == torch.uint8 else images
        tokens = tokens_of(self.vit, (pixels - self.mean) / self.std)
        return go_to(self.vit, tokens, adapter, block)

    def finish(
        self, midway: Midway, adapter: Adapter | None, *, pooling: Pooling = "backbone"
    ) -> Tensor:
        """Go on with a pass that `begin` began, and return what `forward` returns."""
        tokens = finish(self.vit, midway, adapter)
        features: Tensor = self.vit.forward_head(tokens, pre_logits=True).float()
        if pooling == "backbone":
            return features
        patches = tokens[:, self.vit.num_prefix_tokens :].mean(dim=1).float()
        return torch.cat([features, patches], dim=1)

    def finish_features(self, midway: Midway, adapter: Adapter | None) -> Tensor:
        """Return what `finish` returns with `pooling="backbone"`, but for rounding and sooner: training reads it."""
        return finish_to_features(self.vit, midway, adapter).float()

    def embed(
        self,
        images: Tensor,
        adapter: Adapter | None = None,
        *,
        pooling: Pooling = "backbone",
        batch_size: int = 64,
    ) -> Tensor:
        """Embed any number of images in batches, without gradients.

        Args:
            images: uint8 `(N, 3, S, S)`, on any device.
            adapter: As in `forward`; used in evaluation mode.
            pooling: As in `forward`.
            batch_size: Images a pass.

        Returns:
            Features `(N, D)` or `(N, 2 D)`, float32, on the backbone's device.
        """
        return self.embed_each(images, [adapter], pooling=pooling, batch_size=batch_size)[0]

    @torch.inference_mode()
    def embed_each(
        self,
        images: Tensor,
        adapters: Sequence[Adapter | None],
        *,
        pooling: Pooling = "backbone",
        batch_size: int = 64,
    ) -> list[Tensor]:
        """Embed images under several sub-networks: what lies below the first difference between them is passed once.

        Returns:
            What `embed` returns, for each of the sub-networks.
        """
        if self._has_graph:
            looks = [(images, adapter) for adapter in adapters]
            return self._by_graph(looks, pooling, batch_size)
        for adapter in adapters:
            if adapter is not None:
                adapter.eval()
        block = first_difference(adapters, self.depth)
        parts: list[list[Tensor]] = [[] for _ in adapters]
        for part in _batches(images, batch_size):
            midway = self.begin(part.to(self.device), adapters[0], block)
            for mine, adapter in zip(parts, adapters, strict=True):
                mine.append(self.finish(midway, adapter, pooling=pooling))
        return [self._joined(mine, pooling) for mine in parts]

    @torch.inference_mode()
    def embed_own(
        self,
        looks: Sequence[tuple[Tensor, Adapter | None]],
        *,
        pooling: Pooling = "backbone",
        batch_size: int = 64,
    ) -> list[Tensor]:
        """Embed several batches of images, each under a sub-network of its own.

        Returns:
            What `embed` returns, for each of the batches.
        """
        if self._has_graph:
            return self._by_graph(looks, pooling, batch_size)
        return [
            self.embed(images, adapter, pooling=pooling, batch_size=batch_size)
            for images, adapter in looks
        ]

    @property
    def _has_graph(self) -> bool:
        # What is written down as a graph itself is made of PyTorch's steps.
        return self.graph is not None and not _torch_jit.is_tracing()

    def _by_graph(
        self, looks: Sequence[tuple[Tensor, Adapter | None]], pooling: Pooling, batch_size: int
    ) -> list[Tensor]:
        """Do what `embed_own` does. Batches of a few images go through the graph together."""
        assert self.graph is not None
        done: list[Tensor] = [torch.empty(0)] * len(looks)
        few: list[int] = []
        for index, (images, adapter) in enumerate(looks):
            if 0 < len(images) <= FEW:
                few.append(index)
                continue
            parts = [self.graph(part, adapter) for part in _batches(images.cpu(), batch_size)]
            done[index] = self._joined(parts, pooling)
        for together in _packed(few, [len(images) for images, _ in looks]):
            adapters = [looks[index][1] for index in together for _ in looks[index][0]]
            images = torch.cat([looks[index][0] for index in together]).cpu()
            shared = adapters[:1] if len(together) == 1 else adapters
            features = self.graph(images, *shared).split([len(looks[i][0]) for i in together])
            for index, mine in zip(together, features, strict=True):
                done[index] = self._joined([mine], pooling)
        return done

    def _joined(self, parts: Sequence[Tensor], pooling: Pooling) -> Tensor:
        """Put features of several passes together, no wider than `pooling` says."""
        width = self.width_of(pooling)
        nothing = torch.empty(0, width, device=self.device)
        return torch.cat(list(parts))[:, :width] if parts else nothing


def _packed(indexes: Sequence[int], sizes: Sequence[int]) -> list[list[int]]:
    """Put what some indexes stand for together, in order, up to `TOGETHER` images at a time."""
    packs: list[list[int]] = []
    room = 0
    for index in indexes:
        if sizes[index] > room:
            packs.append([])
            room = TOGETHER
        packs[-1].append(index)
        room -= sizes[index]
    return packs


def _batches(images: Tensor, size: int) -> Sequence[Tensor]:
    """Cut images into batches. What is one already stays as it is, so that a graph of its pass serves any number."""
    if 0 < len(images) <= size:
        return [images]
    return images.split(size) if len(images) else ()


def load_backbone(
    name: str,
    *,
    weights: Path | None = None,
    image_size: int | None = None,
    with_background: bool = True,
) -> Backbone:
    """Load a backbone by its public name, with its background if there is one.

    Args:
        name: `bundled`, or a timm ViT name with its pre-trained tag. `tiny` is a random one for tests.
        weights: A safetensors file or a folder of them. The file `<name>[.anything].safetensors` serves backbone
            `<name>`; without one the weights come from timm's hub (a download at the first use). Its background is
            `<name>[.anything].background.safetensors` in the same folder.
        image_size: Input side of a timm ViT in pixels, if not its own: position embeddings are interpolated.
        with_background: Whether to look for a background at all.

    Raises:
        BackboneError: If the name is unknown, its weights are missing, damaged or of another shape, or its background
            is damaged or of other weights.
    """
    if name == TINY:
        backbone = _tiny()
    elif name == BUNDLED:
        backbone = _bundled()
    else:
        backbone = _timm(name, weights, image_size)
    if with_background:
        backbone.background = choose_background(
            name, backbone.image_size, backbone.fingerprint, _background_folders(weights)
        )
    return backbone


def _timm(name: str, weights: Path | None, image_size: int | None) -> Backbone:
    if not is_known_backbone(name, weights=weights):
        raise BackboneError(f"There is no backbone {name}: see the list of backbones.")
    file = find_weights(name, weights)
    try:
        size: dict[str, Any] = {} if image_size is None else {"img_size": image_size}
        created = timm.create_model(name, pretrained=file is None, num_classes=0, **size)
        vit = cast("VisionTransformer", created)
        if file is not None:
            _load_frozen(vit, file)
    except BackboneError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        raise BackboneError(f"The weights of backbone {name} could not be loaded.") from error
    config = resolve_model_data_config(vit)
    preprocessing = Preprocessing(
        image_size=image_size or config["input_size"][-1],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=config["interpolation"],
        crop=config["crop_pct"],
    )
    return Backbone(name, vit, preprocessing)


def build_vit(architecture: Mapping[str, Any]) -> VisionTransformer:
    """Build an untrained ViT from a description that fits in JSON.

    Args:
        architecture: timm's `VisionTransformer` arguments. `stem`, if there, puts convolutions (timm's `ConvStem`:
            `channels` and `stride`, one entry a 3x3 convolution) before the patch projection, whose `patch_size`
            then counts places of the stem's map (Xiao et al. 2021, "Early convolutions help transformers see better").
    """
    arguments = dict(architecture)
    stem = arguments.pop("stem", None)
    if stem is not None:
        convolutions = ConvStem(
            depth=len(stem["channels"]),
            channels=tuple(stem["channels"]),
            stride=tuple(stem["stride"]),
        )
        arguments["embed_layer"] = partial(HybridEmbed, backbone=convolutions)
    return VisionTransformer(**arguments)


def choose_device(name: str) -> torch.device:
    """Return the device of a setting: `auto` is the first GPU, or the CPU without one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def is_known_backbone(name: str, *, weights: Path | None = None) -> bool:
    """Tell whether `load_backbone` would try: no download, no load."""
    if name in (BUNDLED, TINY):
        return True
    architecture, _, tag = name.partition(".")
    if not architecture.startswith("vit_") or not timm.is_model(architecture):
        return False
    return find_weights(name, weights) is not None or (bool(tag) and timm.is_model_pretrained(name))


def expected_side(name: str) -> int | None:
    """Return what length a known backbone brings the shorter side of an image to; None where only loading would tell.

    Example:
        >>> expected_side("bundled"), expected_side("vit_tiny_patch16_224.augreg_in21k_ft_in1k")
        (71, 249)
    """
    if name == TINY:
        return _TINY_SIDE
    if name == BUNDLED:
        return _bundled_preprocessing(_bundled_description()).resize_side
    config = timm.get_pretrained_cfg(name)
    if config is None:
        return None
    return Preprocessing(image_size=config.input_size[-1], crop=config.crop_pct).resize_side


def available_backbones(weights: Path | None = None) -> list[BackboneInfo]:
    """List the bundled backbone, the recommended timm ones, and those the operator has files for."""
    size = _bundled_description()["architecture"]["img_size"]
    backbones = [
        BackboneInfo(
            BUNDLED,
            BUNDLED,
            size,
            "Small ViT, no download: a CPU learns with it",
            _background_info(BUNDLED, size, weights),
        )
    ]
    for name, description in RECOMMENDED:
        source = "hub" if find_weights(name, weights) is None else "file"
        background = _background_info(name, 224, weights)
        backbones.append(BackboneInfo(name, source, 224, description, background))
    return backbones


def find_weights(name: str, weights: Path | None) -> Path | None:
    """Return the operator's file for that backbone, if there is one."""
    if weights is None:
        return None
    files = sorted(weights.glob("*.safetensors")) if weights.is_dir() else [weights]
    for file in files:
        if file.name.endswith(SUFFIX):
            continue
        if file.is_file() and file.name.removesuffix(".safetensors").startswith(name):
            rest = file.name.removesuffix(".safetensors").removeprefix(name)
            if rest == "" or rest.startswith("."):
                return file
    return None


def _background_folders(weights: Path | None) -> list[Path]:
    """Return where backgrounds lie: beside the operator's weights, and then in this package."""
    if weights is None:
        return [WEIGHTS]
    return [weights if weights.is_dir() else weights.parent, WEIGHTS]


def _background_info(name: str, image_size: int, weights: Path | None) -> BackgroundInfo | None:
    files = background_files(name, image_size, _background_folders(weights))
    return read_info(files[0]) if files else None


def _bundled_description() -> dict[str, Any]:
    description: dict[str, Any] = json.loads((WEIGHTS / "bundled.json").read_text())
    return description


def _bundled() -> Backbone:
    description = _bundled_description()
    file = WEIGHTS / "bundled.safetensors"
    if hashlib.sha256(file.read_bytes()).hexdigest() != description["sha256"]:
        raise BackboneError("The bundled backbone's weights are damaged: reinstall the package.")
    # All of them are in the file: drawing others before takes longer than reading these.
    vit = build_vit(description["architecture"] | {"weight_init": "skip"})
    _load_frozen(vit, file)
    return Backbone(BUNDLED, vit, _bundled_preprocessing(description))


def _bundled_preprocessing(description: Mapping[str, Any]) -> Preprocessing:
    return Preprocessing(
        image_size=description["architecture"]["img_size"],
        mean=tuple(description["mean"]),
        std=tuple(description["std"]),
        interpolation=description["interpolation"],
        crop=description["crop"],
    )


def _tiny() -> Backbone:
    vit = VisionTransformer(
        img_size=_TINY_SIDE, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=0
    )
    # timm's own initialisation again, from a generator of our own: the global one is shared with all threads.
    generator = torch.Generator().manual_seed(0)
    projection = vit.patch_embed.proj
    bound = projection.weight[0].numel() ** -0.5
    with torch.no_grad():
        for parameter in vit.parameters():
            if parameter.ndim > 1:
                nn.init.trunc_normal_(parameter, std=0.02, generator=generator)
        for parameter in projection.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
    return Backbone(TINY, vit, Preprocessing(image_size=_TINY_SIDE))


def _load_frozen(vit: VisionTransformer, file: Path) -> None:
    """Fill `vit` from a safetensors file in timm's key layout; a classification head in it is left out."""
    try:
        tensors = safetensors.torch.load_file(file)
    except (SafetensorError, OSError) as error:
        raise BackboneError(
            f"The weights file of {file.name} is not readable safetensors."
        ) from error
    wanted = vit.state_dict()
    state = {key: tensor.float() for key, tensor in tensors.items() if key in wanted}
    if vit.pos_embed is not None and "pos_embed" in state:
        grid = list(vit.patch_embed.grid_size)
        prefix = 0 if vit.no_embed_class else vit.num_prefix_tokens
        state["pos_embed"] = resample_abs_pos_embed(
            state["pos_embed"], new_size=grid, num_prefix_tokens=prefix
        )
    try:
        vit.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise BackboneError(f"The weights in {file.name} are of another architecture.") from error


def _fold_norms(vit: VisionTransformer) -> None:
    """Put the frozen batch norms of a convolutional stem into its convolutions: the same function, fewer steps."""
    for module in list(vit.modules()):
        if isinstance(module, ConvNormAct) and isinstance(module.bn, BatchNormAct2d):
            module.conv = fuse_conv_bn_eval(module.conv, module.bn)
            module.bn = module.bn.act


def _fingerprint(vit: VisionTransformer, preprocessing: Preprocessing) -> str:
    """Hash everything that features depend on: preprocessing, and every weight with its name and shape."""
    digest = hashlib.sha256(repr(preprocessing).encode())
    for key, tensor in sorted(vit.state_dict().items()):
        digest.update(f"{key} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
