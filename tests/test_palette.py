"""Colours that stand together in a picture can be told apart, by the colour-blind too."""

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from course_lib.figures import balance, cache, cost, engineering, game, mtp, routing, scaling

PALETTES = {
    "cache": [*cache.COLOURS.values(), cache.WEIGHTS],
    "routing": [routing.CHOSEN, routing.OPEN, routing.CLOSED, routing.BIASED],
    "load": list(balance.CLASSES),
    "layers": balance.LAYERS,
    "drafts": list(mtp.COLOURS.values()),
    "budgets": scaling.COLOURS,
    "guesses": [colour for colour, *_ in game.LINES],
    "cost": [cost.RENT, cost.ENERGY, cost.ONE],
    "pipeline": list(engineering.WORK.values()),
    "precision": engineering.LINES,
}
# what is left of red, green and blue light (Machado, Oliveira and Fernandes, 2009, table 1, severity 1)
SEEN = {
    "all cones": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900],
    ],
}  # fmt: skip
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])  # sRGB, D65
APART = 9  # a distance of 2.3 is just seen


def lab(colour: str, eye: list[list[float]]) -> NDArray[np.float64]:
    """CIELAB of what an eye sees: equal distances look about equally large."""
    srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    light = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(np.array(eye) @ light, 0, 1) / TO_XYZ.sum(1)
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eye", SEEN)
@pytest.mark.parametrize("palette", PALETTES)
def test_colours_can_be_told_apart(palette: str, eye: str) -> None:
    seen = {colour: lab(colour, SEEN[eye]) for colour in PALETTES[palette]}
    near = {pair for pair in combinations(seen, 2) if np.linalg.norm(seen[pair[0]] - seen[pair[1]]) < APART}
    assert near == set()


def test_red_and_green_of_one_lightness_are_caught() -> None:
    red, green = (lab(colour, SEEN["deuteranopia"]) for colour in ("#d62728", "#8c7a00"))
    assert np.linalg.norm(red - green) < APART
