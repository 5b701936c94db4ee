"""The recommendation's sentences, as the tables have them."""

import html
import re
from pathlib import Path
from typing import Any


def recommended(path: Path) -> list[dict[str, Any]]:
    """Of every heading in tables/recommendation.md the sentences below it; nothing where there is no such file."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return []
    parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)[1:]
    return [
        {"where": _plain(where), "lines": _sentences(body)} for where, body in zip(parts[::2], parts[1::2], strict=True)
    ]


def _sentences(body: str) -> list[str]:
    """Its paragraphs as plain text; the tables among them are left out."""
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", body)]
    return [_plain(part) for part in paragraphs if part and not part.startswith("|")]


def _plain(markdown: str) -> str:
    """What a reader of the Markdown sees."""
    text = re.sub(r"(?<!\\)\*\*|</?u>", "", markdown)
    return html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text)).replace("\n", " ").strip()
