import gzip
import re

import pytest

from service.assets import MEDIA_TYPES, PLOTLY, asset_url, load_asset, plotly_style_id


@pytest.mark.parametrize("name", sorted(MEDIA_TYPES))
def test_every_asset_is_there_and_compressed(name):
    asset = load_asset(name)
    assert gzip.decompress(asset.compressed) == asset.body


def test_the_address_changes_with_the_content():
    assert re.fullmatch(r"/admin/static/dashboard\.css\?v=[0-9a-f]{16}", asset_url("dashboard.css"))
    assert load_asset("live.js").digest != load_asset("try.js").digest


def test_plotly_comes_out_of_the_installed_package():
    assert b"plotly.js v" in load_asset(PLOTLY).body[:200]


def test_the_id_that_keeps_plotly_from_inline_styles_is_found():
    assert re.fullmatch(r"[0-9a-f]{64}", plotly_style_id())


@pytest.mark.parametrize("name", [name for name in sorted(MEDIA_TYPES) if name != PLOTLY])
def test_our_own_assets_load_nothing_from_elsewhere(name):
    text = load_asset(name).body.decode().replace("http://www.w3.org/2000/svg", "")
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text


@pytest.mark.parametrize(
    "name", [n for n in sorted(MEDIA_TYPES) if n.endswith(".js") and n != PLOTLY]
)
def test_our_own_scripts_are_small(name):
    assert len(load_asset(name).compressed) <= 60_000


@pytest.mark.parametrize("name", [name for name in sorted(MEDIA_TYPES) if name.endswith(".css")])
def test_every_block_of_a_style_sheet_is_closed_before_the_next_begins(name):
    text = re.sub(r"/\*.*?\*/", "", load_asset(name).body.decode(), flags=re.DOTALL)
    depth = 0
    for line in text.splitlines():
        assert not (line.startswith("@") and depth), f"{line} stands inside another block"
        depth += line.count("{") - line.count("}")
        assert depth >= 0, line
    assert depth == 0
