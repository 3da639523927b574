"""MkDocs hooks: add the pages of the shipped policies, which are next to their weights, to the site."""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_PAGE = re.compile(r"\]\(\.\./policies/pretrained/(\w+)/README\.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page of every shipped policy as `shipped/NAME.md`."""
    root = Path(config.config_file_path).parent
    for page in sorted((root / "policies" / "pretrained").glob("*/README.md")):
        files.append(File.generated(config, f"shipped/{page.parent.name}.md", abs_src_path=str(page)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Point links to those pages in the repository to their copies on the site."""
    return _PAGE.sub(r"](shipped/\1.md", markdown)
