#!/usr/bin/env python3
"""Checks that the README's longer C++ code is cut from a program that is compiled and run.

A ```cpp block of more than 8 lines begins with `// examples/NAME.cpp...`, and is a piece of that file.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LONGEST_FREE_BLOCK = 8


def problem(block):
    lines = block.strip("\n").split("\n")
    if len(lines) <= LONGEST_FREE_BLOCK:
        return None
    name = re.match(r"// (examples/\w+\.cpp)", lines[0])
    if not name:
        return f"the block that begins with `{lines[0]}` has {len(lines)} lines and does not name its example"
    text = (ROOT / name.group(1)).read_text()
    if "\n".join(lines) not in text:
        return f"the block of {name.group(1)} is not a piece of that file; cut it out again"
    return None


def main():
    blocks = re.findall(r"^```cpp\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    problems = [p for p in map(problem, blocks) if p]
    for text in problems:
        print("README.md:", text)
    print(f"{len(blocks)} blocks of C++ in the README, {len(problems)} wrong")
    return 1 if problems or not blocks else 0


if __name__ == "__main__":
    sys.exit(main())
