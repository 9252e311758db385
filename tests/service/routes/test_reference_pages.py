"""The prose of the reference."""

import re

from service.routes.reference_pages import prose


def test_prose_is_escaped():
    assert prose("a <b> & `c < d`\n\n- **x**: y\n- z") == (
        "<p>a &lt;b&gt; &amp; <code>c &lt; d</code></p>\n"
        "<ul>\n<li><strong>x</strong>: y</li>\n<li>z</li>\n</ul>"
    )


def test_prose_holds_no_html_links_or_images():
    text = (
        "<script>x</script> [a](javascript:x) ![b](http://evil/c) <http://evil/d>\n\n<div>e</div>"
    )
    assert set(re.findall(r"<\w+", prose(text))) == {"<p"}
