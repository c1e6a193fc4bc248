"""The portal's colours can be read by everybody, light and dark (WCAG 2.2, 1.4.3: a contrast of at least 4.5)."""

import re
from pathlib import Path

import pytest

STYLE = (Path(__file__).parents[2] / "api" / "portal" / "static" / "portal.css").read_text()
PAIRS = [
    ("ink", "page"), ("ink", "tint"), ("soft", "page"), ("soft", "tint"), ("link", "page"), ("link", "tint"),
    ("good", "good-tint"), ("bad", "bad-tint"), ("wait", "wait-tint"), ("bad", "page"), ("main-ink", "main"),
]  # fmt: skip


def palettes():
    light, dark = (
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+);", one)) for one in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    )
    assert light.keys() == dark.keys()
    return {"light": light, "dark": dark}


def luminance(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(one * 2 for one in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("name", ["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), PAIRS)
def test_text_stands_out_from_its_ground(name, ink, ground):
    palette = palettes()[name]
    low, high = sorted((luminance(palette[ink]), luminance(palette[ground])))
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_every_colour_that_is_used_is_declared():
    assert set(re.findall(r"var\(--([a-z-]+)\)", STYLE)) == set(palettes()["light"])
