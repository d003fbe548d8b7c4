"""The documentation site: it builds without a warning, and loads nothing from another host."""

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlparse

import pytest

from core.workspace import PROJECT
from pages.components.learn.glossary import TERMS, number_terms
from tests.optional import skip_without


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with every warning as an error."""
    skip_without("mkdocs")
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=PROJECT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


class AssetReader(HTMLParser):
    """Addresses from which a page loads something, as opposed to addresses that it links to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "link" and found.get("rel") in ("canonical", "prev", "next"):
            return
        if tag != "a":
            self.addresses += [
                found[name] or "" for name in ("src", "href", "srcset", "data") if name in found
            ]


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        addresses = AssetReader(page.read_text(encoding="utf-8")).addresses
        assert len(addresses) > 3
        assert [one for one in addresses if urlparse(one).netloc] == [], page
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert "url(http" not in text and "@import" not in text, sheet


def test_the_glossary_of_the_site_is_the_app_s(site: Path) -> None:
    text = (site / "glossary.html").read_text(encoding="utf-8")
    for word in (*TERMS, *number_terms()):
        assert f"<strong>{word.replace('&', '&amp;')}</strong>" in text


def test_the_api_pages_show_docstrings(site: Path) -> None:
    pages = sorted((PROJECT / "docs" / "api").glob("*.md"))
    assert len(pages) > 5
    for page in pages:
        html = (site / "api" / page.with_suffix(".html").name).read_text(encoding="utf-8")
        modules = [
            line.removeprefix("::: ")
            for line in page.read_text().splitlines()
            if line.startswith("::: ")
        ]
        assert all(f'id="{module}"' in html for module in modules), page
