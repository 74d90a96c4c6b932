"""Long statements are wrapped as the standard library wraps them."""

from __future__ import annotations

import textwrap

from hypothesis import given
from hypothesis import strategies as st

from labelgen.render import WIDTH, _wrapped

WORDS = st.lists(st.text("ab-_{}:;,", min_size=1, max_size=120), min_size=1, max_size=20)


@given(WORDS, st.sampled_from(["", "    "]), st.sampled_from([" ", "  ", "\t"]))
def test_words_go_to_the_lines_that_textwrap_puts_them_on(words: list[str], indent: str, odd: str) -> None:
    text = odd.join([" ".join(words), "end"])
    wanted = textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    assert _wrapped(text, indent) == "\n".join(wanted)
