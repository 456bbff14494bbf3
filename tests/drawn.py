"""What a reader finds in a widget's picture."""

import re
from xml.etree import ElementTree


def shown(picture: str, width: int = 10_000) -> ElementTree.Element:
    """The picture as HTML on a page so wide [px]: of several arrangements, the one that the page has room for."""
    root = ElementTree.fromstring(f"<div>{picture}</div>")
    for parent in root.iter():
        for child in list(parent):
            arranged = re.fullmatch(r"course-(\d+)-(\d+|inf)", child.get("class") or "")
            if arranged and not int(arranged[1]) <= width < float(arranged[2]):
                parent.remove(child)
    return root


def label(picture: str) -> str:
    """What a screen reader says: one picture speaks for all."""
    (said,) = [each.attrib["aria-label"] for each in shown(picture).iter() if each.get("role") == "img"]
    return said


def words(picture: str, width: int = 10_000) -> list[str]:
    """The lines of text in its SVGs."""
    return ["".join(each.itertext()) for each in shown(picture, width).iter("text")]
