"""What a reader finds in the picture of a drafted text."""

from xml.etree import ElementTree


def html(picture: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<div>{picture}</div>")


def text(picture: str) -> ElementTree.Element:
    (element,) = [each for each in html(picture).iter("div") if each.get("role") == "img"]
    return element


def spans(picture: str) -> list[tuple[str, str, str]]:
    """Kind, text and tooltip of each character."""
    all_spans = [each for each in text(picture).iter("span") if each.get("title")]
    return [(each.attrib["class"].removeprefix("draft-"), each.text or "", each.attrib["title"]) for each in all_spans]


def outlined(picture: str) -> str:
    return "".join("".join(each.itertext()) for each in text(picture).iter("span") if each.get("class") == "draft-now")
