"""Layouts that once were learned wrongly without a word, or refused without help; and the forms tables come in."""

from tests.service.layout.layouts import JPEG, PLAIN, PNG, TWO, Case, images, listed, text

FOLDERS: dict[str, Case] = {
    "unlabelled images in a folder of a split": Case(
        images("train/dog", "train/cat", "test/unknown"),
        refused="nothing to learn 'unknown' from.*test/unknown/000.jpg",
    ),
    "the same, called unlabelled": Case(
        images("train/dog", "train/cat", "test/unlabeled"), refused="no class folders in 'test'"
    ),
    "split folders of images, of one more word": Case(
        images("dog_train", "dog_test"),
        refused="no class folders in 'dog_(train|test)' and 'dog_(train|test)'",
    ),
    "splits in the names of classes": Case(
        images("train_dog", "test_dog", "train_cat"),
        refused="'(train|test)_dog' and '(train|test)_dog' name a split and a class",
    ),
    "the same, said to be classes": Case(
        images("train_dog", "test_dog"),
        {"train_dog": "2/0/0", "test_dog": "2/0/0"},
        use_splits=False,
    ),
    "split folders inside one another": Case(
        images("x/train/dog", "x/test/dog", "x/x/train/dog"),
        refused="other split folders lie elsewhere",
    ),
    "masks beside photos in each class": Case(
        images("dog/images", "dog/masks", "cat/images"), refused="dog/masks/000.jpg.*mask"
    ),
    "masks beside all photos": Case(images("images", "masks"), refused="masks/000.jpg.*mask"),
    "masks among photos by their names": Case(
        {**images("benign", "malignant"), "benign/000_mask.png": PNG},
        refused="benign/000_mask.png.*mask of '000'",
    ),
    "people with and without masks": Case(
        images("mask", "no mask"), {"mask": "2/0/0", "no mask": "2/0/0"}, is_guess=True
    ),
    "a copy of a class": Case(images("dog", "cat", "dog - Copy"), refused="'dog - Copy'.*copy"),
    "a class unpacked twice": Case(images("dog", "dog (1)"), refused="'dog .1.' looks like a copy"),
    "numbers in brackets without an original": Case(
        images("type (1)", "type (2)"), {"type (1)": "2/0/0", "type (2)": "2/0/0"}
    ),
    "cameras' folders in classes": Case(
        images("heron/DCIM/100APPLE", "egret/DCIM/101APPLE"), {"heron": "2/0/0", "egret": "2/0/0"}
    ),
    "cameras' folders alone": Case(images("DCIM/100APPLE", "DCIM/101APPLE"), refused="no class"),
    "albums and years of a photo service": Case(
        images("Takeout/Google Photos/Heron", "Takeout/Google Photos/Photos from 2021"),
        {"Heron": "2/0/0", "Photos from 2021": "2/0/0"},
        is_guess=True,
    ),
    "years of a photo service": Case(
        images("Takeout/Google Photos/Photos from 2020", "Takeout/Google Photos/Photos from 2021"),
        refused="name no class|names no class",
    ),
    "years": Case(images("2020", "2021"), {"2020": "2/0/0", "2021": "2/0/0"}, is_guess=True),
    "a new folder beside classes": Case(
        images("New folder", "dog"), {"New folder": "2/0/0", "dog": "2/0/0"}, is_guess=True
    ),
    "archives of classes": Case(
        {"a/dog.zip": b"PK", "a/cat.zip": b"PK"}, refused="a/(dog|cat).zip is an archive.*unpack it"
    ),
    "an archive beside a class": Case(
        {**images("dog"), "cat.zip": b"PK"}, {"dog": "2/0/0"}, left_out=1, is_guess=True
    ),
    "names of files that would tell, in one folder": Case(
        {f"pets/{kind}.{i}.jpg": JPEG for kind in ("dog", "cat") for i in range(2)},
        {"pets": "4/0/0"},
        is_guess=True,
    ),
    "a class of videos alone": Case(
        {**images("dog", "owl"), "cat/a.mov": b""}, {"dog": "2/0/0", "owl": "2/0/0"}, left_out=1
    ),
    "one folder, and a table of another format": Case(
        {**images("birds"), "birds.xlsx": b"PK"}, {"birds": "2/0/0"}, left_out=1, is_guess=True
    ),
    "a path that no disk has": Case({"a/" * 3000 + "b.jpg": JPEG}, refused="more than 4096 char"),
    # Tables that are about something else
    "numbered images and numbered classes in lists": Case(
        {
            **images("images/001.A", "images/002.B"),
            **text(
                **{
                    "images.txt": "1 001.A/000.jpg\n2 001.A/001.jpg\n3 002.B/000.jpg\n4 002.B/001.jpg\n",
                    "train_test_split.txt": "1 1\n2 0\n",
                }
            ),
        },
        {"001.A": "2/0/0", "002.B": "2/0/0"},
        left_out=2,
    ),
    "classes by number in a table, by name in folders": Case(
        listed("labels.csv", "Filename,Label\ndog/000.jpg,0\ncat/000.jpg,1\n", "dog", "cat"),
        TWO,
        left_out=1,
    ),
    "what classes are called": Case(
        {**text(**{"labels.csv": "id,label\n0,Speed\n1,Stop\n"}), **images("0", "1")}
        | {"0/0.jpg": JPEG, "1/1.jpg": JPEG},
        {"0": "3/0/0", "1": "3/0/0"},
        left_out=1,
    ),
    "names of classes by number beside one class": Case(
        {"dog/0.jpg": JPEG, "dog/1.jpg": JPEG, **text(**{"labels.txt": "0 dog\n1 cat\n"})},
        refused="labels.txt knows classes beside 'dog'",
    ),
    "a table that fits several images of clear folders": Case(
        listed("train.csv", "filename,label\n000.jpg,dog\n", "dog", "cat"), TWO, left_out=1
    ),
    # Tables that do not help
    "a table of another name": Case(
        listed("birds.csv", "filename,label\n000.jpg,dog\n", "images"),
        refused="birds.csv was not read.*save it as labels.csv",
    ),
    "a table of no known columns": Case(
        listed("labels.csv", "a,b,c\n1,2,3\n", "images"), refused="labels.csv was not used.*columns"
    ),
    "a table of other images": Case(
        listed("labels.csv", "filename,label\nzz.jpg,dog\n", "images"),
        refused="labels.csv was not used: none of its 1 rows.*'zz.jpg'",
    ),
    "a table whose quotation marks do not close": Case(
        listed("labels.csv", 'filename,label\n000.jpg,"dog\n001.jpg,cat\n', "images"),
        refused="labels.csv cannot be read at its line 3",
    ),
    "a table of more columns than anybody needs": Case(
        listed("labels.csv", "filename,label" + "," * 2000, "images"), refused="1000 columns"
    ),
    "a table of more rows than a task has images": Case(
        listed("labels.csv", "f,l\n" + "000.jpg,dog\n" * 200_002, "images"), refused="200000 rows"
    ),
    # Several tables
    "tables of splits in a folder of their own": Case(
        {
            **text(**{"lists/train.csv": "f,label\na.jpg,dog\nb.jpg,cat\n"}),
            **text(**{"lists/val.csv": "f,label\nc.jpg,cat\n"}),
            **{f"images/{name}.jpg": JPEG for name in "abc"},
        },
        {"dog": "0/1/0", "cat": "0/1/1"},
    ),
    "tables of splits whose images have the same names": Case(
        {
            **text(
                **{
                    "train.csv": "f,label\na.jpg,dog\nb.jpg,cat\n",
                    "val.csv": "f,label\na.jpg,cat\n",
                }
            ),
            **{f"{path}.jpg": JPEG for path in ("train/a", "train/b", "val/a")},
        },
        {"dog": "0/1/0", "cat": "0/1/1"},
    ),
    "tables that contradict each other": Case(
        {
            **text(
                **{"labels.csv": "f,label\n000.jpg,dog\n", "labels.tsv": "f\tlabel\n000.jpg\tcat\n"}
            ),
            **images("images"),
        },
        refused="two labels in the tables: 'dog' and 'cat'",
    ),
    "a cell in lines of JSON that is nested": Case(
        listed(
            "metadata.jsonl", '{"file_name": "000.jpg", "objects": {"category": [1]}}', "images"
        ),
        refused="metadata.jsonl was not used",
    ),
    "a class for each column": Case(
        {
            **text(**{"x/_classes.csv": "filename, Dog, cat\n000.jpg, 1, 0\n001.jpg, 0, 1\n"}),
            **images("x"),
        },
        {"Dog": "1/0/0", "cat": "1/0/0"},
    ),
    "several classes of one image by columns": Case(
        listed("labels.csv", "filename,dog,cat\n000.jpg,1,1\n001.jpg,0,1\n", "images"),
        refused="several labels",
    ),
    "tables and clear folders": Case({**PLAIN, "labels.csv": b"\x00\x01"}, TWO, left_out=1),
}

FORMS = {
    "quoted": '"filename","label"\n"000.jpg","dog"\n"001.jpg","cat"\n',
    "a byte order mark and old line ends": "\ufefffilename,label\r\n000.jpg,dog\r\n001.jpg,cat\r\n",
    "line ends of old Macs": "filename,label\r000.jpg,dog\r001.jpg,cat\r",
    "quotes behind spaces": '"filename", "label"\n"000.jpg", "dog"\n"001.jpg", "cat"\n',
    "an index column": ",filename,label\n0,000.jpg,dog\n1,001.jpg,cat\n",
    "other columns": "id,width,filename,label\n7,640,000.jpg,dog\n8,640,001.jpg,cat\n",
    "what spreadsheets say first": "sep=;\nfilename;width;label\n000.jpg;640;dog\n001.jpg;641;cat\n",
    "the same, padded": "sep=;;\nfilename;width;label\n000.jpg;640;dog\n001.jpg;641;cat\n",
    "bars": "filename|label\n000.jpg|dog\n001.jpg|cat\n",
    "German": "Datei;Breite;Klasse\n000.jpg;4;dog\n001.jpg;5;cat\n",
    "Chinese": "文件名,宽,标签\n000.jpg,1,dog\n001.jpg,2,cat\n",
    "numbers and names": "filename,label,label_name\n000.jpg,0,dog\n001.jpg,1,cat\n",
    "addresses": "url,label\nhttps://a.org/b/000.jpg?w=1,dog\nhttps://a.org/c/001.jpg#x,cat\n",
    "an address beside the name": "image_url,filename,label\nhttps://a/z.jpg,000.jpg,dog\nhttps://a/y.jpg,001.jpg,cat\n",
    "masks beside names": "mask,image,label\n000_m.jpg,000.jpg,dog\n001_m.jpg,001.jpg,cat\n",
    "another format's suffix": "filename,label\n000.png,dog\n001.png,cat\n",
    "whole paths": "filename,label\n/home/me/images/000.jpg,dog\n/home/me/images/001.jpg,cat\n",
    "paths of Windows": "filename,label\nC:\\me\\images\\000.jpg,dog\nimages\\001.jpg,cat\n",
    "columns of 0 and 1": "image,dog,cat\n000,1.0,0.0\n001,0.0,1.0\n",
    "rows twice": "filename,label\n000.jpg,dog\n000.jpg,dog\n001.jpg,cat\n",
    "nothing known of some": "filename,label\n000.jpg,dog\n001.jpg,cat\n002.jpg,NaN\n003.jpg,\n",
    "lists of one": '{"file_name": "000.jpg", "label": ["dog"]}\n{"file_name": "001.jpg", "label": "cat"}\n',
}
"""Tables of one content."""

SEVERAL = {
    "bars": "filename,labels\n000.jpg,dog|cat\n001.jpg,dog\n",
    "commas": 'filename,labels\n000.jpg,"dog,cat"\n001.jpg,dog\n',
    "spaces": "filename,labels\n000.jpg,dog cat\n001.jpg,dog\n002.jpg,cat\n",
    "lists": "filename,labels\n000.jpg,\"['dog', 'cat']\"\n001.jpg,['dog']\n",
    "JSON": '{"file_name": "000.jpg", "label": ["dog", "cat"]}\n{"file_name": "001.jpg", "label": ["dog"]}\n',
}
"""Tables with several labels in a cell."""
UNSURE = {
    "species": "filename,breed,species\n000.jpg,pug,dog\n001.jpg,tabby,cat\n002.jpg,boxer,dog\n",
    "age": "filename,age\n000.jpg,3\n001.jpg,4\n",
}
"""Tables of which another column could be meant, by the one that is taken."""
