"""What the names of files and folders tell: which are no images, which are splits, which name no class."""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

TRAIN = "train"
EVAL = "eval"
AUTO = "auto"
"""A share of the class is kept out by chance."""

MAX_PATH = 4096
"""Characters of one path; longer ones are on no disk."""
HEAD_BYTES = 32
"""How much of a file `looks_like_image` wants to see."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SYSTEM = frozenset(
    {
        "__macosx",
        "@eadir",
        "@recently-snapshot",
        "@recycle",
        "@tmp",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "recycler",
        "system volume information",
        "lost+found",
        "network trash folder",
        "temporary items",
        "thumbs.db",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "desktop.ini",
        "folder.htt",
        "picasa.ini",
        "zbthumbnail.info",
        "pspbrwse.jbf",
        "icon\r",
        "__pycache__",
    }
)
"""What systems and programs leave behind, in lower case. Names with a leading dot are passed over anyway."""
_EDITOR = re.compile(
    r"^~\$|^#.*#$|~$|\.(tmp|temp|part|partial|crdownload|download|bak|swp|swo|lnk|url)$"
)

_IMAGE_SUFFIXES = _words(
    "jpg jpeg jpe jfif jif pjpeg png apng webp bmp dib gif heic heif heics hif avif avifs mpo jps insp "
    "tif tiff ico icns psd xcf svg svgz jp2 j2k jpf jpx jxl tga ppm pgm pbm pnm pcx exr hdr dds "
    "raw cr2 cr3 crw nef nrw arw srf sr2 dng orf rw2 raf pef srw x3f"
)
"""Suffixes of image files, those that are refused later, by name, included: they are not to vanish."""
IMAGE_ENDS = (
    ".jpg",
    ".jpeg",
    ".png",
    ".webp",
    ".gif",
    ".bmp",
    ".heic",
    ".heif",
    ".avif",
    ".tif",
    ".tiff",
    ".jfif",
)
"""Ends, in lower case, by which a cell of a table is known as the name of an image."""
_OTHER_SUFFIXES = _words(
    "txt md rst rtf pdf doc docx odt xls xlsx ods ppt pptx csv tsv json jsonl ndjson xml yaml yml toml ini cfg conf "
    "log html htm css js ts py pyc ipynb r m mat sh bat exe dll so c h cpp java go rs sql db sqlite "
    "parquet arrow feather npy npz pkl pickle h5 hdf5 pt pth onnx safetensors tfrecord tfrecords lmdb mdb bin "
    "zip tar gz tgz bz2 tbz2 xz txz 7z rar zst iso "
    "mp4 mov m4v avi mkv webm 3gp mts wmv mp3 wav m4a aac flac ogg "
    "aae xmp thm dop pp3 cos names data cache lst list idx sha1 sha256 md5 license gitignore gitkeep"
)
"""Suffixes of files that hold no photo, whatever they lie beside."""

_MAGICS = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF8",
    b"BM",
    b"II*\x00",
    b"MM\x00*",
    b"\x00\x00\x00\x0cjP  ",
)
_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis")

_WORDS = {
    **dict.fromkeys(("train", "training", "trn"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), EVAL),
    **dict.fromkeys(("eval", "evaluation", "test", "testing", "holdout", "heldout"), EVAL),
}
"""Words for splits, and what their images are used for."""
_COLLECTIONS = frozenset(
    {
        "set",
        "data",
        "dataset",
        "images",
        "image",
        "imgs",
        "img",
        "split",
        "samples",
        "photos",
        "pictures",
    }
)
"""Words that may follow the word for a split and mean nothing."""
_PARTS = _words("part parts batch chunk shard images image imgs img photos pictures")
_JOINED = re.compile(f"({'|'.join(_WORDS)})({'|'.join(sorted(_COLLECTIONS))})")
_CONTAINERS = _words(
    "images image imgs img photos photo pictures picture pics pic jpg jpeg jpegs jpgs jpegimages png pngs data dataset "
    "datasets files raw rgb original originals samples upload uploads download downloads labels annotations "
    "annotation masks mask bilder fotos imagenes dcim unlabeled unlabelled"
) | frozenset(
    (
        "new folder",
        "untitled folder",
        "neuer ordner",
        "nouveau dossier",
        "nueva carpeta",
        "nuova cartella",
        "google photos",
        "takeout",
    )
)
"""Folders that are named for what they are, not for what their images show."""


_CAMERA = re.compile(
    r"[1-9]\d\d(apple|canon|eos\w\w|_pana|msdcf|media|gopro|andro|nikon|nc[dz]\d\d|d\d{4}|olymp|_fuji|leica|samsu|photo)"
    r"|photos from \d{4}"
)
"""Folders that cameras and photo services make (DCF: three digits and five characters)."""
_DATE = re.compile(r"(19|20)\d\d([-_. ]?\d\d){0,2}")
_COPY = re.compile(
    r"(?P<of>.*?\S)( \(\d+\)| - (copy|kopie|copie|copia|c\u00f3pia)( \(\d+\))?| copy( \d+)?)", re.I
)
"""How systems name a copy of a folder."""
_MASK_FOLDERS = _words("masks mask labels annotations annotation")
_MASK = re.compile(r"(?P<of>.+?)[ _-](mask|segmentation|seg|gt|groundtruth)(_\d+)?", re.I)


def fold(name: str) -> str:
    """Return a name as it is compared: composed, in lower case, without spaces around it."""
    return unicodedata.normalize("NFC", name).strip().casefold()


def is_passed_over(path: PurePosixPath) -> bool:
    """Return whether a file is hidden, or a system's or an editor's own, at any depth and in any case.

    Example:
        >>> is_passed_over(PurePosixPath("cat/@eaDir/1.jpg/thumb.jpg")), is_passed_over(PurePosixPath("cat/1.jpg"))
        (True, False)
    """
    return any(
        part.startswith(".") or fold(part) in _SYSTEM or part.casefold() in _SYSTEM
        for part in path.parts
    ) or bool(_EDITOR.search(path.name.casefold()))


def has_image_suffix(folded: str) -> bool:
    """Return whether a cell of a table, in lower case, is the name of an image, or its address."""
    return folded.endswith(IMAGE_ENDS) or (
        "://" in folded and folded.partition("?")[0].endswith(IMAGE_ENDS)
    )


def needs_look(path: PurePosixPath) -> bool:
    """Return whether a file's name leaves open whether it is an image."""
    return path.suffix[1:].casefold() not in _IMAGE_SUFFIXES | _OTHER_SUFFIXES


def may_be_image(path: PurePosixPath, head: bytes) -> bool:
    """Return whether a file is to be taken for an image: by its suffix; by its first bytes where that tells nothing.

    Args:
        path: Its name.
        head: Its first `HEAD_BYTES` bytes.

    Example:
        >>> may_be_image(PurePosixPath("a.JPG"), b""), may_be_image(PurePosixPath("README"), b"# Birds")
        (True, False)
    """
    if needs_look(path):
        return looks_like_image(head)
    return path.suffix[1:].casefold() in _IMAGE_SUFFIXES


def looks_like_image(head: bytes) -> bool:
    """Return whether a file begins like one of the common image formats."""
    if head.startswith(_MAGICS):
        return True
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    return head[4:8] == b"ftyp" and any(
        head[at : at + 4] in _BRANDS for at in range(8, HEAD_BYTES, 4)
    )


def split_of(name: str) -> str | None:
    """Return what the images of a folder of that name are used for, `train` or `eval`; None if it names no split.

    Example:
        >>> split_of("Training_Set"), split_of("test1"), split_of("VALID"), split_of("train station")
        ('train', 'eval', 'eval', None)
    """
    words = _split_words(name)
    if not words or words[0] not in _WORDS:
        return None
    return _WORDS[words[0]] if all(word in _COLLECTIONS for word in words[1:]) else None


def splits_of(names: Iterable[str]) -> dict[str, str] | None:
    """Return what the folders of one level are used for, by name; None if not all of them name a split.

    Besides plain names, one word more that all have in common: `seg_train` and `seg_test`.
    """
    splits = {name: split_of(name) for name in names}
    plain = {name: split for name, split in splits.items() if split is not None}
    if len(plain) == len(splits):
        return plain
    affixed = {name: _affixed(name) for name in splits}
    known = {name: parts for name, parts in affixed.items() if parts is not None}
    others = {rest for rest, _ in known.values()}
    uses = {split for _, split in known.values()}
    if len(known) < len(splits) or len(others) != 1 or uses != {TRAIN, EVAL}:
        return None
    return {name: split for name, (_, split) in known.items()}


def are_parts(names: Iterable[str]) -> bool:
    """Return whether folders are numbered parts of one collection, as `images_001` and `images_002`.

    Example:
        >>> are_parts(["images_part_1", "images_part_2"]), are_parts(["c0", "c1"]), are_parts(["images_1"])
        (True, False, False)
    """
    words = [tuple(_split_words(name)) for name in names]
    return len(words) > 1 and len(set(words)) == 1 and not _PARTS.isdisjoint(words[0])


def is_container(name: str) -> bool:
    """Return whether a folder's name says only that it holds images or data."""
    folded = fold(name)
    return folded in _CONTAINERS or _CAMERA.fullmatch(folded) is not None


def is_mask_folder(name: str) -> bool:
    """Return whether a folder's name says that it holds what was drawn over images, if it lies beside such."""
    return fold(name) in _MASK_FOLDERS


def mask_of(stem: str) -> str | None:
    """Return the name of the image that a file would be a mask of by its name; None if it is not named like one.

    Example:
        >>> mask_of("benign (1)_mask"), mask_of("unmasked")
        ('benign (1)', None)
    """
    match = _MASK.fullmatch(stem)
    return match["of"] if match else None


def is_date(name: str) -> bool:
    """Return whether a folder is named like a year, a month or a day.

    Example:
        >>> is_date("2021"), is_date("2021-05-01"), is_date("0021")
        (True, True, False)
    """
    return _DATE.fullmatch(fold(name)) is not None


def copied_from(name: str) -> str | None:
    """Return what a folder is a copy of by its name; None if it is not named like one.

    Example:
        >>> copied_from("dog (1)"), copied_from("dog - Copy"), copied_from("dog 2")
        ('dog', 'dog', None)
    """
    match = _COPY.fullmatch(name)
    return match["of"] if match else None


def word_before_split(name: str) -> tuple[tuple[str, ...], str] | None:
    """Take the word for a split out of a name that has others: what is left, and the split; None without.

    Example:
        >>> word_before_split("train_dog"), word_before_split("dog")
        ((('dog',), 'train'), None)
    """
    parts = _affixed(name)
    return parts if parts and parts[0] else None


def _affixed(name: str) -> tuple[tuple[str, ...], str] | None:
    """Take the one word for a split out of a name: what is left, and the split."""
    words = _split_words(name)
    splits = [word for word in words if word in _WORDS]
    if len(splits) != 1:
        return None
    return tuple(word for word in words if word not in _WORDS), _WORDS[splits[0]]


def _split_words(name: str) -> list[str]:
    """Return the words of a folder's name in lower case, without numbers, `trainset` as two."""
    words: list[str] = []
    for word in re.split(r"[\s_.\-]+|\d+", fold(name)):
        joined = _JOINED.fullmatch(word)
        words += joined.groups() if joined else [word] * bool(word)
    return words
