"""`filopodia suspects`, against a service that learns."""

import json
import shutil

from tests.factories import write_images

TINY = ("--create", "--strategy", "artsy", "--backbone", "tiny")


def test_a_wrong_label_is_listed_with_what_to_do_about_it(run_as_admin, tmp_path):
    run_as_admin.start_learning()
    photos = tmp_path / "photos"
    write_images(photos, {"egret": range(9), "heron": range(8)})
    wrong = sorted((photos / "egret").iterdir())[0]
    shutil.move(wrong, photos / "heron" / f"strayed{wrong.suffix}")
    code, output = run_as_admin("learn", "birds", str(photos), *TINY)
    assert code == 0, output

    code, output = run_as_admin("suspects", "birds", "--json")
    assert code == 0, output
    [suspect] = json.loads(output)["suspects"]
    assert (suspect["label"], suspect["looks_like"]) == ("heron", "egret")

    code, output = run_as_admin("suspects", "birds", "heron")
    assert code == 0
    assert suspect["sample"] in output
    assert f"filopodia move-images birds 'egret' {suspect['sample']}" in output.replace("\n", " ")

    code, output = run_as_admin("suspects", "birds", "egret")
    assert (code, "No label looks wrong." in output) == (0, True)

    code, output = run_as_admin("move-images", "birds", "egret", suspect["sample"])
    assert code == 0, output
    code, output = run_as_admin("suspects", "birds")
    assert "No label looks wrong." in output


def test_a_strategy_that_cannot_is_refused_by_name(run_as_admin, tmp_path):
    run_as_admin.start_learning()
    write_images(tmp_path / "photos", {"egret": range(3), "heron": range(3)})
    options = ("--create", "--strategy", "ranpac", "--backbone", "tiny")
    run_as_admin("learn", "birds", str(tmp_path / "photos"), *options)
    code, output = run_as_admin("suspects", "birds")
    assert code == 1
    assert "The strategy ranpac cannot say" in output
