import math

import pytest

from course_lib.quantity import Estimate, table

HALF = Estimate(value=0.5, low=0.4, high=0.75, interval="95% Student-t", unit="nats a token", source="a <made up> run")


def test_what_is_read() -> None:
    assert str(HALF) == "0.5 nats a token (0.4 to 0.75, 95% Student-t)"
    assert str(Estimate(value=2.788e6, unit="h")) == "2.788e+06 h"
    assert str(Estimate(value=1.0, low=1.0, high=2.0, message="one run only")) == "1 (1 to 2); one run only"


def test_an_interval_has_two_ends_in_order() -> None:
    for low, high in ((0.6, 0.4), (math.nan, 1.0), (1.0, math.nan)):
        with pytest.raises(ValueError, match=f"want low <= high, or NaN for both, got {low} and {high}"):
            Estimate(value=0.5, low=low, high=high)
    Estimate(value=0.512, low=0.501, high=0.502)  # percentiles may leave the value out


def test_cover() -> None:
    assert HALF.has_interval and HALF.covers(0.4) and HALF.covers(0.75)
    assert not HALF.covers(0.39) and not HALF.covers(0.76)
    unknown = Estimate(value=0.5)
    assert not unknown.has_interval and not unknown.covers(0.5)
    assert Estimate(value=1.0, low=0.0, high=math.inf).covers(1e300)


def test_in_a_notebook() -> None:
    page = HALF._repr_html_()
    cells = "<td>0.5</td><td>0.4</td><td>0.75</td><td>nats a token</td>"
    assert cells in page and "a &lt;made up&gt; run" in page and "95% Student-t" in page


def test_a_table_says_what_is_shared_once() -> None:
    warned = Estimate(value=1.0, source=HALF.source, message="at the edge")
    page = table("Fit & <law>", {"a": HALF, "b": HALF, "<c>": warned}, "240 runs.")
    assert page.count("95% Student-t") == page.count("Source:") == page.count("at the edge") == 1
    assert "<br>&lt;c&gt;: at the edge<br>" in page
    assert "<caption>Fit &amp; &lt;law&gt;</caption>" in page and "&lt;c&gt;" in page and "240 runs." in page
    assert "<td>1</td><td></td><td></td><td></td>" in page  # no interval, no unit
    assert "nan" not in page
