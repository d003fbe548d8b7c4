"""Add pages from elsewhere to the documentation site: glossary, notebook, files of the root.

MkDocs calls `on_files` as a hook (mkdocs.yml) before it reads any page.
"""

import json

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from core.workspace import PROJECT
from pages.components.learn.glossary import TERMS, number_terms

# Files of the repository's root that are pages of the site as well, by the name of the page.
ROOT_PAGES = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
NOTEBOOK = PROJECT / "docs" / "notebook.ipynb"
IMAGES = {"images/logo.svg": "assets/icon.svg"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages and images to the files of docs/."""
    files.append(File.generated(config, "glossary.md", content=glossary_page()))
    files.append(File.generated(config, "notebook.md", content=notebook_page()))
    for page, name in ROOT_PAGES.items():
        # Links of the root lead into docs/, which is the root of the site.
        text = (PROJECT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    for page, name in IMAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(PROJECT / name)))
    return files


def glossary_page() -> str:
    """The glossary of the app's page *Learn* as Markdown, in alphabetical order."""
    return "\n".join(
        [
            "# Glossary",
            "",
            "The same sentences are on the page *Learn* and behind the question marks of the app.",
            *_section("Terms", TERMS),
            *_section("Numbers", number_terms()),
            "",
        ]
    )


def notebook_page() -> str:
    """The notebook's text and code as Markdown, without outputs: it is stored without them."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
    title, *rest = parts
    download = f"[Download this notebook]({NOTEBOOK.name}). The tests run it from top to bottom."
    return "\n\n".join([title, download, *rest, ""])


def _section(title: str, entries: dict[str, str]) -> list[str]:
    words = sorted(entries.items(), key=lambda entry: entry[0].lower())
    return [
        "",
        f"## {title}",
        "",
        "| Term | Meaning |",
        "|---|---|",
        *(f"| **{word}** | {text} |" for word, text in words),
    ]
