#!/usr/bin/env python3
"""Links from one document to another lead to one.

    links.py FOLDER
"""

import re
import sys
from pathlib import Path


def broken(folder):
    """Relative links in documents of a folder that lead nowhere."""
    documents = sorted(Path(folder).rglob("*.md"))
    links = [(file, link) for file in documents for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", file.read_text())]
    return [f"{file}: {link}" for file, link in links if not (file.parent / link).exists()] or (
        [] if links else [f"{folder}: no links at all"])


if __name__ == "__main__":
    sys.exit("\n".join(broken(sys.argv[1])) or 0)
