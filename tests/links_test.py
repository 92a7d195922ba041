#!/usr/bin/env python3
"""Tests that the links of all Markdown pages lead somewhere, and that the first page stays one.

usage: links_test.py [unittest arguments]
"""
import os
import re
import subprocess
import tempfile
import unittest
import urllib.parse
from pathlib import Path

import skips

ROOT = Path(__file__).resolve().parent.parent
# ![text](target), [text](target "title") and [name]: target; a text may go over the end of a line.
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(\s*<?([^\s)<>]+)>?(?:\s+\"[^\"]*\")?\s*\)|^\[[^\]]+\]:\s*(\S+)",
                  re.MULTILINE)
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def pages_of(root):
    """All Markdown pages of the repository; without git (an unpacked archive), of its folders but those of builds."""
    listed = subprocess.run(["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard",
                             "*.md"], capture_output=True, encoding="utf-8")
    if listed.returncode == 0:
        return sorted(root / name for name in listed.stdout.split("\0") if name and (root / name).is_file())
    pages = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in ("build", "runs", "downloads") and name[0] != "."]
        pages += [Path(folder) / name for name in files if name.endswith(".md")]
    return sorted(pages)


def prose(text):
    """The page without its code, in which nothing is a link."""
    text = re.sub(r"^(```|~~~).*?^\1[ \t]*$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"(`+)(?!`)(?:(?!\n\n).)+?(?<!`)\1(?!`)", lambda code: "_" * len(code.group()), text, flags=re.DOTALL)


def anchors_of(text):
    """What GitHub calls the headings of a page: words in small letters, blanks as -, a number behind repeated ones."""
    without_blocks = re.sub(r"^(```|~~~).*?^\1[ \t]*$", "", text, flags=re.MULTILINE | re.DOTALL)
    anchors = set()
    for heading in re.findall(r"^#{1,6}[ \t]+(.*?)[ \t]*#*$", without_blocks, re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        anchor, repeats = name, 0
        while anchor in anchors:
            repeats += 1
            anchor = f"{name}-{repeats}"
        anchors.add(anchor)
    return anchors


def broken_links(page, root):
    """What is wrong with the relative links of a page: lines for people, and how many links there are."""
    text = page.read_text(encoding="utf-8")
    links = [first or second for first, second in LINK.findall(prose(text))]
    problems = []
    relative = [link for link in links if not ELSEWHERE.match(link)]
    for link in relative:
        path, _, anchor = urllib.parse.unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page.resolve()
        if not target.exists():
            problems.append(f"{page.relative_to(root)}: {link}: no such file")
        elif not target.is_relative_to(root.resolve()):
            problems.append(f"{page.relative_to(root)}: {link}: outside of the repository")
        elif anchor and (target.suffix != ".md" or anchor not in anchors_of(target.read_text(encoding="utf-8"))):
            problems.append(f"{page.relative_to(root)}: {link}: no such heading")
    return problems, len(relative)


class LinksTest(unittest.TestCase):
    def test_all_links_of_the_repository_resolve(self):
        problems, links = [], 0
        pages = pages_of(ROOT)
        for page in pages:
            found, count = broken_links(page, ROOT)
            problems += found
            links += count
        self.assertIn(ROOT / "README.md", pages)
        self.assertGreater(links, 20)
        self.assertEqual(problems, [])

    def test_the_first_page_links_every_other_page_of_documentation(self):
        first = (ROOT / "README.md").read_text(encoding="utf-8")
        self.assertLessEqual(len(first.splitlines()), 150)
        linked = {link.partition("#")[0] for link, _ in LINK.findall(prose(first))}
        for page in ("CONTRIBUTING.md", "bench/README.md", "data/README.md", "host/README.md", "host/cli/GUIDE.md",
                     "host/cli/README.md", "include/README.md", "kernels/README.md"):
            self.assertIn(page, linked)


class CheckTest(unittest.TestCase):
    """The check itself, on pages with faults planted."""

    def problems(self, text, **others):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder).resolve()
            (root / "page.md").write_text(text, encoding="utf-8")
            for name, content in others.items():
                (root / f"{name}.md").write_text(content, encoding="utf-8")
            return [problem.partition(": ")[2] for problem in broken_links(root / "page.md", root)[0]]

    def test_a_missing_file(self):
        self.assertEqual(self.problems("[a](b.md) ![p](c.svg)\n\n[d]: e.md\n"),
                         ["b.md: no such file", "c.svg: no such file", "e.md: no such file"])

    def test_a_missing_heading(self):
        self.assertEqual(self.problems("# One\n[x](#one) [y](#two) [z](b.md#three) [w](b.md#four)\n", b="## Three\n"),
                         ["#two: no such heading", "b.md#four: no such heading"])

    def test_text_over_the_end_of_a_line_and_code_in_it(self):
        self.assertEqual(self.problems("see [the\npage `x` of](b.md)\n"), ["b.md: no such file"])

    def test_outside(self):
        self.assertEqual(self.problems("[up](../)\n"), ["../: outside of the repository"])

    def test_no_links(self):
        code = "```\n[a](b.md)\n```\n`[c](d.md)` and `rows[i](e)`\n[f](https://example.org/x.md)\n"
        self.assertEqual(self.problems(code), [])

    def test_anchors(self):
        page = "# On a GPU: `gpu_kit.sh`\n## Same\n## Same\n```\n# no heading\n```\n## A, b (c)\n"
        self.assertEqual(anchors_of(page), {"on-a-gpu-gpu_kitsh", "same", "same-1", "a-b-c"})


if __name__ == "__main__":
    skips.main()
