"""Hooks of MkDocs: pages that stand elsewhere in the repository, and links out of the site."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
ELSEWHERE = {
    "index.md": "README.md", "config.md": "config/README.md", "changelog.md": "CHANGELOG.md"
}  # fmt: skip
"""Pages of the site that are files outside docs/."""
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """The files of docs/, with those from elsewhere."""
    for page, source in ELSEWHERE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_moved(text, Path(source).parent)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A page of docs/ in which links to the repository are the site's, or text."""
    return markdown if page.file.src_uri in ELSEWHERE else _moved(markdown, Path("docs"))


def _moved(text: str, folder: Path) -> str:
    """Text of a file of a folder with links as from docs/."""
    text = text.replace("](docs/images/", "](images/")
    return _LINK.sub(lambda found: _link(found[1], found[2], folder), text)


def _link(words: str, address: str, folder: Path) -> str:
    """A link within the site; to other files of the repository, their path."""
    if re.match(r"[a-z]+:|#", address):
        return f"[{words}]({address})"
    path, _, anchor = address.partition("#")
    wanted = (ROOT / folder / path).resolve().relative_to(ROOT).as_posix()
    pages = {source: page for page, source in ELSEWHERE.items()}
    if wanted.startswith("docs/"):
        place = wanted.removeprefix("docs/")
    elif wanted in pages:
        place = pages[wanted]
    else:
        return f"{words} (`{wanted}`)" if words.strip("`") != wanted else f"`{wanted}`"
    return f"[{words}]({place}{f'#{anchor}' if anchor else ''})"
