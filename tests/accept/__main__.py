"""Runs the acceptance scripts: `python -m tests.accept [TOPIC ...] [--list] [-- ARGS]`.

An acceptance script is a module in this directory with TOPIC (one word), TITLE (one line) and main(argv) -> int. It
measures one thing that is promised, prints the figure, and returns 0 when the promise holds. It may be slow, and it
may need programs that are not everywhere; SKIPPED says so. This is not CI: `make test` holds a short form of each.
"""

import argparse
import importlib
import pkgutil
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

SKIPPED = 77  # what a script returns when this machine lacks something it needs
WORDS = {0: "holds", SKIPPED: "skipped"}


@dataclass(frozen=True)
class Script:
    """One acceptance script."""

    name: str
    topic: str
    title: str
    main: Callable[[Sequence[str]], int]


def scripts() -> list[Script]:
    """All scripts of this directory, by topic and name. Modules without TOPIC are parts that scripts share."""
    found = []
    for module_info in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module_info.name.startswith("_"):
            continue
        module = importlib.import_module(f"tests.accept.{module_info.name}")
        if hasattr(module, "TOPIC"):
            found.append(Script(module_info.name, module.TOPIC, module.TITLE, module.main))
    return sorted(found, key=lambda script: (script.topic, script.name))


def chosen(all_scripts: Sequence[Script], words: Sequence[str]) -> list[Script]:
    """Those whose topic or name is among the words; all without words. An unknown word ends the program."""
    known = {script.topic for script in all_scripts} | {script.name for script in all_scripts}
    unknown = [word for word in words if word not in known]
    if unknown:
        sys.exit(f"no such topic or script: {', '.join(unknown)}; there are: {', '.join(sorted(known))}")
    return [script for script in all_scripts if not words or script.topic in words or script.name in words]


def run(script: Script, argv: Sequence[str]) -> int:
    """Runs one script; a script that raises has failed."""
    print(f"== {script.topic}: {script.title} ({script.name})", flush=True)
    start = time.monotonic()
    try:
        code = script.main(argv)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
        if not isinstance(error.code, int) and error.code is not None:
            print(error.code)
    except Exception:
        traceback.print_exc()
        code = 1
    print(f"-- {WORDS.get(code, 'FAILS')} after {time.monotonic() - start:.1f} s", flush=True)
    return code


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.accept", description="Measures what is promised.")
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help="topic or script; without any, all of them")
    parser.add_argument("--list", action="store_true", help="only list the scripts")
    own, _, passed_on = partition(sys.argv[1:], "--")
    options = parser.parse_args(own)
    selected = chosen(scripts(), options.topics)
    if options.list:
        for script in selected:
            print(f"{script.topic:<14} {script.name:<24} {script.title}")
        return 0
    codes = {script.name: run(script, passed_on) for script in selected}
    print("== summary")
    for script in selected:
        print(f"{WORDS.get(codes[script.name], 'FAILS'):<8} {script.topic}: {script.title}")
    return int(any(code not in WORDS for code in codes.values()))


def partition(words: Sequence[str], mark: str) -> tuple[list[str], str, list[str]]:
    """Like str.partition, for a list."""
    at = list(words).index(mark) if mark in words else len(words)
    return list(words[:at]), mark, list(words[at + 1 :])


if __name__ == "__main__":
    sys.exit(main())
