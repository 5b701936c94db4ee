"""One file for a browser: the template with the style, the libraries, the page's own scripts and the data in it.

It asks nobody for anything: its security policy allows no request, and no script but those that it came with.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

ASSETS = Path(__file__).parents[2] / "assets" / "report"
# In the order in which they need each other; the page's own are one scope together.
LIBRARIES = ("d3.min.js", "plot.min.js", "dataTables.min.js")
SCRIPTS = (
    *("dom", "data", "state", "marks"),
    *("export", "copying", "table", "curves", "cost", "duel", "classes", "trust", "cell", "summary", "answer"),
    "main",
)


def document(data: Any, title: str) -> str:
    """The page as HTML."""
    scripts = [*((ASSETS / "vendor" / name).read_text(encoding="utf-8") for name in LIBRARIES), _own()]
    parts = {
        "policy": _policy(scripts),
        "title": _escaped(title),
        "style": (ASSETS / "page.css").read_text(encoding="utf-8"),
        "data": as_text(data),
        "scripts": "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    page = (ASSETS / "page.html").read_text(encoding="utf-8")
    # Once over the template alone: what stands in one part is never taken for the place of another.
    pieces = page.split("%%")
    return "".join(parts[piece] if i % 2 else piece for i, piece in enumerate(pieces))


def as_text(data: Any) -> str:
    """JSON that can stand in a script element, whatever texts are in it: nothing there ends it or begins a comment."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    # Half a surrogate, which a file name may hold, is no text in UTF-8.
    return text.encode("utf-8", "backslashreplace").decode()


def digest() -> str:
    """16 hexadecimal digits for the template, the style and the scripts: what the page looks like."""
    found = hashlib.sha256()
    for path in sorted(ASSETS.rglob("*")):
        if path.suffix in {".js", ".css", ".html"}:
            found.update(f"{path.relative_to(ASSETS)}\n".encode() + path.read_bytes())
    return found.hexdigest()[:16]


def _own() -> str:
    parts = [(ASSETS / "js" / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    return '(() => {\n"use strict";\n' + "\n".join(parts) + "\n})();\n"


def _policy(scripts: list[str]) -> str:
    """No request, nothing embedded but the pictures in the page, and these scripts alone."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
