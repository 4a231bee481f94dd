#!/usr/bin/env python3
"""Does every relative link and anchor of the documentation lead somewhere, and has the book every page?

Reads the Markdown files that git knows (new ones too), and nothing from the network. Links to other sites are not
followed: whether they answer is not a property of a change. Ends with status 1 and a line for each broken link.

    scripts/checks/links.py             the documentation
    scripts/checks/links.py DIR         a copy of it, as a package installs it
    scripts/checks/links.py --test      tries itself on pages with mistakes
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote

FENCE = re.compile(r"^\s*(```+|~~~+)")
CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^()\s>]+(?:\([^()\s]*\))?)>?(?:\s+\"[^\"]*\")?\s*\)")
DEFINITION = re.compile(r"^\s{0,3}\[[^\]]+\]:\s+<?(\S+?)>?\s*$")
HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*\s*$")
ELSEWHERE = re.compile(r"^[a-z][a-z0-9+.-]*:|^//", re.I)


def prose(path):
    """The lines outside fenced code, with their numbers."""
    fence = None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        mark = FENCE.match(line)
        if mark and (fence is None or mark[1].startswith(fence)):
            fence = mark[1] if fence is None else None
        elif fence is None:
            yield number, line


def anchors(path):
    """What may stand behind # in a link to a page: its headings, as GitHub and mdBook name them."""
    seen, names = {}, set()
    for _, line in prose(path):
        heading = HEADING.match(line)
        if not heading:
            continue
        text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading[2])
        name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        count = seen.get(name, 0)
        seen[name] = count + 1
        names.add(f"{name}-{count}" if count else name)
    return names


def links(path):
    for number, line in prose(path):
        line = CODE.sub("", line)
        found = DEFINITION.match(line)
        targets = [found[1]] if found else LINK.findall(line)
        yield from ((number, target) for target in targets if not ELSEWHERE.match(target))


def broken(root, pages):
    """A sentence for each mistake."""
    known = {}
    book = root / "docs"
    for page in pages:
        for number, target in links(page):
            where = f"{page.relative_to(root)}:{number}: {target}"
            name, _, anchor = unquote(target).partition("#")
            file = (page.parent / name).resolve() if name else page
            if not file.exists():
                yield f"{where}: there is no such file"
                continue
            if page.is_relative_to(book) and (file.is_dir() or file == book / "SUMMARY.md"):
                yield f"{where}: is no page of the book"
            elif page.is_relative_to(book) and not file.is_relative_to(book):
                yield f"{where}: leads out of docs/, where the book cannot follow: name the path as `code`"
            if anchor and file.suffix == ".md":
                if anchor not in known.setdefault(file, anchors(file)):
                    yield f"{where}: the page has no such heading"
    summary = book / "SUMMARY.md"
    listed = {(book / target).resolve() for _, target in links(summary)}
    for page in pages:
        if page.is_relative_to(book) and page != summary and page not in listed:
            yield f"{page.relative_to(root)}: is not in docs/SUMMARY.md"


def tracked(root):
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", "*.md"]
    names = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    return [root / name for name in names.splitlines() if (root / name).exists()]


def try_itself():
    """Each kind of mistake is found, and what is right is not."""
    with tempfile.TemporaryDirectory() as made:
        root = Path(made).resolve()
        (root / "docs").mkdir()
        texts = {
            "README.md": "[a](docs/A.md#a-title) [b](docs/gone.md) `[no](link.md)` [c](https://x.example/y#z)\n",
            "docs/SUMMARY.md": "- [A](A.md)\n",
            "docs/A.md": "# A title\n[up](../README.md) [here](#a-title-1) [b](#nowhere) [c](.)\n# `A` title!\n"
                         "```\n[no](link.md)\n```\n",
            "docs/B.md": "nobody lists me\n",
        }
        for name, text in texts.items():
            (root / name).write_text(text)
        found = list(broken(root, [root / name for name in texts]))
        expected = [
            "README.md:1: docs/gone.md: there is no such file",
            "docs/A.md:2: ../README.md: leads out of docs/, where the book cannot follow: name the path as `code`",
            "docs/A.md:2: #nowhere: the page has no such heading",
            "docs/A.md:2: .: is no page of the book",
            "docs/B.md: is not in docs/SUMMARY.md",
        ]
        assert found == expected, "\n".join(found)


def main():
    if sys.argv[1:] == ["--test"]:
        return try_itself()
    if sys.argv[1:]:
        root = Path(sys.argv[1]).resolve()
        pages = sorted(root.rglob("*.md"))
    else:
        root = Path(__file__).resolve().parents[2]
        pages = tracked(root)
    mistakes = list(broken(root, pages))
    for mistake in mistakes:
        print(mistake, file=sys.stderr)
    print(f"links: {len(pages)} pages, {sum(1 for page in pages for _ in links(page))} links, {len(mistakes)} broken")
    sys.exit(bool(mistakes))


if __name__ == "__main__":
    main()
