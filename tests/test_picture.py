"""The picture in the README, drawn as `make picture` does, only faster."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import picture

ROOT = Path(__file__).parent.parent


def words_of(svg: str) -> str:
    """Return what is written in a picture, where blanks are places and no words."""
    return re.sub(r"\s", "", "".join(ElementTree.fromstring(svg).itertext()))


def test_the_picture_is_of_a_watch_that_is_under_way() -> None:
    drawn = picture.draw(pace=0.02, share=0.5)
    for svg in (drawn, (ROOT / "docs" / "live-view.svg").read_text()):
        words = words_of(svg)
        for word in ("$jobstatuswatchdemo", "RUNNING", "/240", "█", "░", "succeeded", "lastreport"):
            assert word in words
        # It shows the same to everybody: nothing is fetched from elsewhere.
        assert "url(http" not in svg
        assert "@import" not in svg


def test_the_readme_shows_the_picture() -> None:
    assert "(docs/live-view.svg)" in (ROOT / "README.md").read_text()
