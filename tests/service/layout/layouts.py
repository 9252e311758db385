"""The layouts that people have, as they really come, and what is right for each. One table for folders and archives."""

from dataclasses import dataclass, field

JPEG = b"\xff\xd8\xff\xe0" + bytes(60)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(60)


@dataclass(frozen=True)
class Case:
    """A layout and its outcome."""

    files: dict[str, bytes]
    classes: dict[str, str] = field(default_factory=dict)
    """Of each class how many images are left to chance, to learn from and kept out: `auto/train/eval`."""
    refused: str = ""
    """Words of the refusal, as a regular expression."""
    left_out: int = 0
    is_guess: bool = False
    use_splits: bool = True


def images(*names: str, n: int = 2, suffix: str = ".jpg") -> dict[str, bytes]:
    """Return `n` images in each folder."""
    return {f"{name}/{i:03}{suffix}": JPEG for name in names for i in range(n)}


def text(**files: str) -> dict[str, bytes]:
    return {name: content.encode() for name, content in files.items()}


TWO = {"dog": "2/0/0", "cat": "2/0/0"}
PLAIN = images("dog", "cat")
FLAT = {f"train/{kind}.{i}.jpg": JPEG for kind in ("dog", "cat") for i in range(3)}


def listed(name: str, content: str, *folders: str, n: int = 2) -> dict[str, bytes]:
    return {name: content.encode(), **images(*folders, n=n)}


LAYOUTS: dict[str, Case] = {
    # One folder a class
    "plain": Case(PLAIN, TWO),
    "plain, wrapped": Case(images("pets/dog", "pets/cat"), TWO),
    "wrapped three times": Case(images("a/b/c/dog", "a/b/c/cat"), TWO),
    "wrapped in a container": Case(images("images/dog", "images/cat"), TWO),
    "one class": Case(images("dog"), {"dog": "2/0/0"}),
    "one class, wrapped": Case(images("pets/dog"), {"dog": "2/0/0"}, is_guess=True),
    "class folders that hold a folder of images": Case(images("dog/images", "cat/images"), TWO),
    "the same of one class": Case(images("dog/images"), {"dog": "2/0/0"}),
    "composed and decomposed names": Case(
        {**images("V\u00f6gel/Ku\u0308ken"), **images("V\u00f6gel/M\u00f6we")},
        {"K\u00fcken": "2/0/0", "M\u00f6we": "2/0/0"},
    ),
    "a class twice, composed and decomposed": Case(
        images("K\u00fcken", "Ku\u0308ken", "dog"), {"K\u00fcken": "4/0/0", "dog": "2/0/0"}
    ),
    "spaces and brackets": Case(
        images("my dog (old)", "a cat"), {"my dog (old)": "2/0/0", "a cat": "2/0/0"}
    ),
    "kinds of dogs in folders of animals": Case(
        images("dog/beagle", "dog/pug", "cat/persian"),
        {"beagle": "2/0/0", "pug": "2/0/0", "persian": "2/0/0"},
        is_guess=True,
    ),
    "suffixes in any case and of any format": Case(
        {"dog/a.JPG": JPEG, "dog/b.Jpeg": JPEG, "cat/c.HEIC": b"", "cat/d.webp": b""}, TWO
    ),
    "images without a suffix": Case(
        {"dog/0": JPEG, "dog/1": PNG, "cat/2": b"GIF89a", "cat/3": b"RIFF\0\0\0\0WEBPVP8 "}, TWO
    ),
    # Not one depth
    "a class with folders of its own beside one without": Case(
        images("dog", "cat/persian"), refused="different depths.*dog/000.jpg.*cat/persian/000.jpg"
    ),
    "an image above the class folders": Case(
        {**PLAIN, "cover.jpg": JPEG}, refused="different depths.*cover.jpg"
    ),
    "an image deep inside a class folder": Case(
        {**PLAIN, "dog/old/x.jpg": JPEG}, refused="different depths.*dog/old/x.jpg"
    ),
    "folders of one name in two classes": Case(
        images("dog/puppy", "dog/adult", "cat/adult"), refused="two folders 'adult'"
    ),
    "two cameras": Case(images("left/dog", "left/cat", "right/dog"), refused="two folders 'dog'"),
    # No class folders
    "images alone": Case({"a.jpg": JPEG, "b.jpg": JPEG}, refused="no folder that names their"),
    "one wrapped folder of images": Case(
        {"photos/a.jpg": JPEG, "photos/b.jpg": JPEG}, refused="'photos', which names no class"
    ),
    "labels in the names of files": Case(
        {**FLAT, "test1/0.jpg": JPEG},
        refused="no class folders in ('train' and 'test1'|'test1' and 'train').*heron/1.jpg.*train/heron/1.jpg",
    ),
    "the same in one split": Case(FLAT, refused="no class folders in 'train'"),
    "the same wrapped": Case(
        {f"dogs-vs-cats/{name}": data for name, data in FLAT.items()},
        refused="no class folders in 'dogs-vs-cats'|no class folders in 'train'",
    ),
    "unlabelled images to predict in a split of their own": Case(
        {**images("train/dog", "train/cat"), "test/1.jpg": JPEG},
        refused="no class folders in 'test'",
    ),
    "boxes, not classes": Case(
        {
            **{f"{split}/images/{i}.jpg": JPEG for split in ("train", "valid") for i in range(2)},
            **{
                f"{split}/labels/{i}.txt": b"0 1 1 1 1"
                for split in ("train", "valid")
                for i in range(2)
            },
        },
        refused="no class folders in 'train' and 'valid'",
    ),
    # Splits
    "train and eval": Case(
        images("train/dog", "train/cat", "eval/dog", "eval/cat"), {"dog": "0/2/2", "cat": "0/2/2"}
    ),
    "train, valid and test": Case(
        images("train/dog", "valid/dog", "test/dog", "train/cat", "valid/cat", "test/cat"),
        {"dog": "0/2/4", "cat": "0/2/4"},
    ),
    "training_set and test_set": Case(
        images("training_set/dog", "training_set/cat", "test_set/dog", "test_set/cat"),
        {"dog": "0/2/2", "cat": "0/2/2"},
    ),
    "splits nested in themselves": Case(
        images(
            "data/training_set/training_set/dog",
            "data/training_set/training_set/cat",
            "data/test_set/test_set/dog",
        ),
        {"dog": "0/2/2", "cat": "0/2/0"},
    ),
    "Train and Validation": Case(
        images("Train/dog", "Train/cat", "Validation/dog"), {"dog": "0/2/2", "cat": "0/2/0"}
    ),
    "TRAINING and TESTING, wrapped": Case(
        images("x/TRAINING/dog", "x/TRAINING/cat", "x/TESTING/cat"),
        {"dog": "0/2/0", "cat": "0/2/2"},
    ),
    "seg_train and seg_test": Case(
        images("seg_train/seg_train/dog", "seg_train/seg_train/cat", "seg_test/seg_test/cat"),
        {"dog": "0/2/0", "cat": "0/2/2"},
    ),
    "splits inside each class": Case(
        images("dog/train", "dog/test", "cat/train", "cat/test"), {"dog": "0/2/2", "cat": "0/2/2"}
    ),
    "splits with a folder of images in each class": Case(
        images("train/dog/images", "train/cat/images", "val/dog/images"),
        {"dog": "0/2/2", "cat": "0/2/0"},
    ),
    "a split wrapped otherwise than the other": Case(
        images("train/animals/dog", "train/animals/cat", "test/dog"),
        {"dog": "0/2/2", "cat": "0/2/0"},
    ),
    "a split folder alone": Case(images("train/dog", "train/cat"), TWO),
    "only images to measure with": Case(
        images("test/dog", "test/cat"), {"dog": "0/0/2", "cat": "0/0/2"}
    ),
    "a split beside classes": Case(
        images("bus", "car", "train"), refused="'train' is named like a split"
    ),
    "the same, said to be classes": Case(
        images("bus", "car", "train"),
        {"bus": "2/0/0", "car": "2/0/0", "train": "2/0/0"},
        use_splits=False,
    ),
    "a class named like a split inside splits": Case(
        images("train/bus", "train/train", "test/bus", "test/train"),
        {"bus": "0/2/2", "train": "0/2/2"},
    ),
    "classes whose names hold such a word": Case(
        images("test tube", "train station"), {"test tube": "2/0/0", "train station": "2/0/0"}
    ),
    "a data set named like a split": Case(
        images("Test/train/dog", "Test/valid/dog", "Test/train/cat"),
        {"dog": "0/2/2", "cat": "0/2/0"},
    ),
    "splits, and an image above them": Case(
        {**images("train/dog", "test/dog"), "logo.png": PNG}, refused="named like a split.*logo.png"
    ),
    # What is no part of it
    "a README and a list beside wrapped class folders": Case(
        {**images("pets/dog", "pets/cat"), "pets/README.md": b"#", "pets/classes.txt": b"dog"},
        TWO,
        left_out=2,
    ),
    "what macOS leaves": Case(
        {**PLAIN, "__MACOSX/dog/._000.jpg": b"x", "dog/.DS_Store": b"x", "dog/._000.jpg": b"x"},
        TWO,
        left_out=3,
    ),
    "what Windows leaves, in any case": Case(
        {
            **PLAIN,
            "dog/Thumbs.db": b"",
            "cat/DESKTOP.INI": b"",
            "cat/ehthumbs.db": b"",
            "thumbs.DB": b"",
        },
        TWO,
        left_out=4,
    ),
    "what a NAS leaves": Case(
        {**PLAIN, "dog/@eaDir/000.jpg/SYNOPHOTO_THUMB_M.jpg": JPEG, "#recycle/cat/9.jpg": JPEG},
        TWO,
        left_out=2,
    ),
    "what editors leave": Case(
        {**PLAIN, "dog/000.jpg~": JPEG, "dog/~$list.docx": b"", "cat/000.jpg.part": JPEG},
        TWO,
        left_out=3,
    ),
    "a hidden folder of notebooks": Case(
        {**PLAIN, ".ipynb_checkpoints/x.png": PNG, ".git/config": b""}, TWO, left_out=2
    ),
    "videos and side files of a phone": Case(
        {**PLAIN, "dog/IMG_1.MOV": b"", "dog/IMG_1.AAE": b"<", "cat/IMG_2.xmp": b"<"},
        TWO,
        left_out=3,
    ),
    "annotations inside class folders": Case(
        {**PLAIN, "dog/000.xml": b"<", "dog/000.json": b"{}", "cat/notes": b"hello"},
        TWO,
        left_out=3,
    ),
    "a folder without images beside the classes": Case(
        {**PLAIN, "docs/manual/a.pdf": b"%PDF", "src/load.py": b"import"}, TWO, left_out=2
    ),
    "nothing but notes": Case({"dog/a.txt": b"x"}, refused="There is no image: none of 1 files"),
    "nothing": Case({}, refused="There is no image: there is no file"),
    # Tables
    "labels.csv beside a folder of images": Case(
        listed("labels.csv", "filename,label\n000.jpg,dog\n001.jpg,cat\n", "images"),
        {"dog": "1/0/0", "cat": "1/0/0"},
    ),
    "metadata.csv with images beside it, semicolons and a byte order mark": Case(
        {
            "metadata.csv": "\ufefffile_name;label\na.jpg;dog\nb.jpg;cat\n".encode(),
            "a.jpg": JPEG,
            "b.jpg": JPEG,
        },
        {"dog": "1/0/0", "cat": "1/0/0"},
    ),
    "names without suffixes, as competitions have them": Case(
        {
            **text(**{"labels.csv": "id,breed\n0a,beagle\n0b,pug\n"}),
            **{f"train/{name}.jpg": JPEG for name in ("0a", "0b")},
        },
        {"beagle": "1/0/0", "pug": "1/0/0"},
    ),
    "the same with unlabelled images to predict": Case(
        {
            **text(**{"labels.csv": "id,breed\n0a,beagle\n0b,pug\n"}),
            **{f"train/{name}.jpg": JPEG for name in ("0a", "0b")},
            "test/0c.jpg": JPEG,
        },
        {"beagle": "1/0/0", "pug": "1/0/0"},
        left_out=1,
        is_guess=True,
    ),
    "a table in each split folder": Case(
        {
            "train/metadata.csv": b"file_name,label\na.jpg,dog\nb.jpg,cat\n",
            "test/metadata.csv": b"file_name,label\na.jpg,cat\n",
            **dict.fromkeys(("train/a.jpg", "train/b.jpg", "test/a.jpg"), JPEG),
        },
        {"dog": "0/1/0", "cat": "0/1/1"},
    ),
    "a column of splits": Case(
        listed(
            "metadata.csv",
            "path,class,split\nall/000.jpg,dog,train\nall/001.jpg,dog,validation\n",
            "all",
        ),
        {"dog": "0/1/1"},
    ),
    "lines of JSON": Case(
        listed(
            "metadata.jsonl",
            '{"file_name": "x/000.jpg", "label": "dog"}\n{"file_name": "x/001.jpg", "label": "cat"}\n',
            "x",
        ),
        {"dog": "1/0/0", "cat": "1/0/0"},
    ),
    "tabs, and no header": Case(
        listed("labels.tsv", "x/000.jpg\tdog\nx/001.jpg\tcat\n", "x"),
        {"dog": "1/0/0", "cat": "1/0/0"},
    ),
    "a table that says what the folders say": Case(
        listed("labels.csv", "filename,label\ndog/000.jpg,dog\ncat/000.jpg,cat\n", "dog", "cat"),
        TWO,
        left_out=1,
    ),
    "a table that contradicts the folders": Case(
        listed("labels.csv", "filename,label\ndog/000.jpg,cat\n", "dog", "cat"),
        refused="calls dog/000.jpg 'cat', and its folder calls it 'dog'",
    ),
    "a table that contradicts itself": Case(
        listed("labels.csv", "filename,label\n000.jpg,cat\n000.jpg,dog\n", "images"),
        refused="two labels in the table: 'cat' and 'dog'",
    ),
    "a table with rows too many": Case(
        listed("labels.csv", "filename,label\n000.jpg,cat\n001.jpg,dog\n9.jpg,cow\n", "images"),
        {"cat": "1/0/0", "dog": "1/0/0"},
        is_guess=True,
    ),
    "a table of something else": Case(
        listed("metadata.csv", "filename,width,height\n000.jpg,10,20\n", "dog", "cat"),
        TWO,
        left_out=1,
    ),
    "a table that fits two images": Case(
        {"labels.csv": b"filename,label\na.jpg,dog\n", "x/a.jpg": JPEG, "x/y/a.jpg": JPEG},
        refused="'a.jpg' fits x/a.jpg and x/y/a.jpg",
    ),
    "a table in Latin-1": Case(
        listed("labels.csv", "filename,label\n000.jpg,dog\n", "images")
        | {"labels.csv": "filename,label\n000.jpg,K\u00fcken\n".encode("latin-1")},
        refused="labels.csv is not UTF-8",
    ),
    "a manifest goes before folders": Case(
        listed(
            "manifest.csv",
            "file,label,split\ndog/000.jpg,x,train\ncat/000.jpg,y,eval\n",
            "dog",
            "cat",
        ),
        {"x": "0/1/0", "y": "0/0/1"},
        left_out=2,
        is_guess=True,
    ),
    # As public data sets come
    "Food-101": Case(
        {
            **images("food-101/images/ramen", "food-101/images/sushi"),
            "food-101/meta/train.txt": b"ramen/000",
        },
        {"ramen": "2/0/0", "sushi": "2/0/0"},
        left_out=1,
    ),
    "GTSRB": Case(
        {
            **images("Train/0", "Train/1", suffix=".png"),
            "Test/00000.png": PNG,
            "Meta/0.png": PNG,
            "Train.csv": b"Width,Height,ClassId,Path\n1,1,0,Train/0/000.png\n1,1,0,Train/0/001.png\n"
            b"1,1,1,Train/1/000.png\n1,1,1,Train/1/001.png\n",
            "Test.csv": b"Width,Height,ClassId,Path\n1,1,1,Test/00000.png\n",
        },
        {"0": "0/2/0", "1": "0/2/1"},
        left_out=1,
        is_guess=True,
    ),
    "Tiny ImageNet": Case(
        {
            **images("t/train/n01/images", "t/train/n02/images", "t/val/images"),
            "t/words.txt": b"n01 bird",
        },
        refused="no class folders in 'val'",
    ),
    "HAM10000": Case(
        {
            **images("HAM10000_images_part_1", "HAM10000_images_part_2"),
            "HAM10000_metadata.csv": b"lesion_id,image_id,dx,age\nH,ISIC_1,bkl,80\n",
        },
        refused="'HAM10000_images_part_1' and 'HAM10000_images_part_2' are parts of one collection",
    ),
    "Fruits-360": Case(
        {**images("Training/Apple", "Test/Apple", "test-multiple_fruits"), "readme.md": b"#"},
        refused="named like a split.*test-multiple_fruits/000.jpg",
    ),
    "PlantVillage in colour and in grey": Case(
        images("p/color/healthy", "p/color/sick", "p/grayscale/healthy", "p/grayscale/sick"),
        refused="two folders 'healthy'",
    ),
    "10 monkeys": Case(
        {
            **images("training/training/n0", "training/training/n1", "validation/validation/n0"),
            "monkey_labels.txt": b"n0, a",
        },
        {"n0": "0/2/2", "n1": "0/2/0"},
        left_out=1,
    ),
    "Cassava": Case(
        {
            **images("train_images", "test_images"),
            "train.csv": b"image_id,label\n000.jpg,0\n001.jpg,3\n",
            "label_num_to_disease_map.json": b"{}",
            "sample_submission.csv": b"image_id,label\n0.jpg,4\n",
        },
        {"0": "1/0/0", "3": "1/0/0"},
        left_out=4,
        is_guess=True,
    ),
    "drivers of a competition": Case(
        images("imgs/train/c0", "imgs/train/c1"), {"c0": "2/0/0", "c1": "2/0/0"}
    ),
    "an export of an album": Case(
        {
            **images("Takeout/Google Photos/Heron", "Takeout/Google Photos/Egret"),
            "Takeout/Google Photos/Heron/000.jpg.json": b"{}",
        },
        {"Heron": "2/0/0", "Egret": "2/0/0"},
        left_out=1,
    ),
    "labels.txt, a name and a label a line": Case(
        listed("labels.txt", "x/000.jpg grey heron\nx/001.jpg egret\n", "x"),
        {"grey heron": "1/0/0", "egret": "1/0/0"},
    ),
    "a damaged table beside class folders": Case(
        {**PLAIN, "labels.csv": "K\u00fcken".encode("latin-1")}, TWO, left_out=1
    ),
}
