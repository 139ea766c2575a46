"""What the tree looks like: sizes, names, banned calls, docstrings, and no trace of the machine it was made on.

Each rule is a function that returns complaints; each is shown to be able to complain at the end of the file.
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("dynomite_mp", "tests", "docs", "conf", ".ci")
TOP_FILES = ("Makefile", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "pyproject.toml", "setup.py", ".gitignore")
CODE = {".py", ".pyx", ".pxd", ".pyi", ".h"}
TEXT = CODE | {".md", ".yml", ".toml", ".txt", ".html", ".css", ".js", ".sh", ""}
SKIP = {"__pycache__", "_build", ".hypothesis"}

LINE_LIMIT = 120
FILE_LIMIT = {".py": 500, ".pyx": 800, ".pxd": 400, ".pyi": 400, ".h": 400}
FUNCTION_LIMIT = 60
FLAT_DISPATCH_LIMIT = 100

# Files beyond their limit with the lines they may have, and functions beyond theirs. These lists only shrink.
LONG_FILES: dict[str, int] = {}
FLAT_DISPATCH: set[str] = set()  # "path:function": one flat chain of cases

BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "stuff"}
BANNED_CLASS = re.compile(r"(Manager|Helper|Utils?)$")

# (pattern, paths it holds for, what to do instead)
BANNED: tuple[tuple[str, str, str], ...] = (
    (r"^\s*except\s*:", r".*", "name the exception"),
    (r"multiprocessing.*shared_memory", r"dynomite_mp/.*", "ipc.segment: shared_memory unlinks what it only attached"),
    (r"\buvloop\.install\(", r".*", "asyncio.Runner(loop_factory=uvloop.new_event_loop)"),
    (r"\bdatetime\.(utc)?now\(", r"dynomite_mp/.*", "time.time() or a clock that is passed in"),
    # sleep(0) lets others run, sleep(3600) is meant to be cancelled.
    (r"(?<![\w.])(?:time|asyncio)\.sleep\((?!0\)|3600\))", r"tests/(unit|property|sim)/.*", "wait for the condition"),
    (r"\bRandom\(", r"dynomite_mp/(proto|cluster)/.*", "take one as an argument"),
    (r"(?<![\w.])print\(", r"dynomite_mp/(?!cli|settings|__main__).*", "logging, or click.echo in cli"),
    (r"#\s*type:\s*ignore(?!\[)", r".*", "name the error code"),
    (r"#\s*noqa(?!:)", r".*", "name the rule"),
    (r"^\s*include\s+[\"']", r".*\.(pyx|pxd)", "cimport"),
    (r"@pytest\.mark\.skip\b", r"tests/.*", "skipif with the condition"),
    (r"<<<<<<<|>>>>>>>", r".*", "resolve the conflict"),
)
LOOSE_END = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b(?!: \S.{14,})")

# Where the tree was made is nobody's business: no absolute path of a machine, no package index but the default.
MACHINE = re.compile(r"(?<![\w./<~-])/(?:work|root|home|Users|opt/pypi|opt/wheels)/")
HOSTS = re.compile(r"https?://([A-Za-z0-9.-]+)")
KNOWN_HOSTS = {
    "github.com", "docs.python.org", "www.apache.org", "redis.io", "valkey.io", "keepachangelog.com", "semver.org",
    "www.w3.org", "prometheus.io", "peps.python.org", "memcached.org", "www.sphinx-doc.org", "cython.readthedocs.io",
    "json.schemastore.org", "localhost", "docs.kernel.org", "man7.org",
}  # fmt: skip
LOCAL_HOST = re.compile(r"127\.|0\.0\.0\.0|10\.|192\.0\.2\.|.*\.example$|example\.(com|org|net)$")
TRACKER = re.compile(r"\bissue #?\d+\b", re.IGNORECASE)
BUILT = re.compile(r"\.(so|o|c|pyc|log|pid|rdb|aof|whl)$")


def files() -> list[Path]:
    """Every file of the tree that people write."""
    found = [ROOT / name for name in TOP_FILES if (ROOT / name).exists()]
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix in TEXT and not SKIP & set(path.parts):
                found.append(path)
    return sorted(found)


def read(path: Path) -> tuple[str, str]:
    return str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


# ---- the rules -------------------------------------------------------------------------------------------------------


def too_long_files(name: str, text: str) -> Iterator[str]:
    suffix = Path(name).suffix
    limit = LONG_FILES.get(name, FILE_LIMIT.get(suffix, 10**9))
    count = text.count("\n")
    if name.startswith("tests/testdata/"):
        return
    if count > limit:
        yield f"{name}: {count} lines, the limit is {limit}; is there a second noun in it?"
    if name in LONG_FILES and count <= FILE_LIMIT[suffix]:
        yield f"{name}: short enough, take it off LONG_FILES"


def too_long_lines(name: str, text: str) -> Iterator[str]:
    if Path(name).suffix in CODE or name.startswith(".ci/"):
        for number, line in enumerate(text.split("\n"), 1):
            if len(line) > LINE_LIMIT:
                yield f"{name}:{number}: {len(line)} characters"


def stray_whitespace(name: str, text: str) -> Iterator[str]:
    if text and not text.endswith("\n"):
        yield f"{name}: no newline at the end"
    for number, line in enumerate(text.split("\n"), 1):
        if line != line.rstrip() or ("\t" in line and not name.startswith(("Makefile", "tests/testdata/"))):
            yield f"{name}:{number}: white space at the end or a tab"


def too_long_functions(name: str, text: str) -> Iterator[str]:
    spans = python_functions(text) if name.endswith(".py") else cython_functions(text) if name.endswith(".pyx") else []
    for function, first, last in spans:
        limit = FLAT_DISPATCH_LIMIT if f"{name}:{function}" in FLAT_DISPATCH else FUNCTION_LIMIT
        if last - first + 1 > limit:
            yield f"{name}:{first}: {function} has {last - first + 1} lines, the limit is {limit}"


def python_functions(text: str) -> Iterator[tuple[str, int, int]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.lineno, node.end_lineno or node.lineno


CYTHON_FUNCTION = re.compile(
    r"^(\s*)(?:async\s+)?(?:cdef|cpdef|def)\s+(?!class|struct|enum|extern|union)[^=]*?(\w+)\s*\("
)


def cython_functions(text: str) -> Iterator[tuple[str, int, int]]:
    """Functions by indentation: from the head to the last line that is further in."""
    lines = text.split("\n")
    for start, line in enumerate(lines):
        match = CYTHON_FUNCTION.match(line)
        if not match:
            continue
        indent, last, inside_head = len(match[1]), start, not line.split("#")[0].rstrip().endswith(":")
        for number in range(start + 1, len(lines)):
            body = lines[number]
            if not body.strip():
                continue
            if inside_head:
                inside_head = not body.split("#")[0].rstrip().endswith(":")
            elif len(body) - len(body.lstrip()) <= indent:
                break
            last = number
        yield match[2], start + 1, last + 1


def banned_words(name: str, text: str) -> Iterator[str]:
    if name == "tests/test_tidy.py":
        return
    rules = [(re.compile(pattern), instead) for pattern, where, instead in BANNED if re.fullmatch(where, name)]
    for number, line in enumerate(text.split("\n"), 1):
        for pattern, instead in rules:
            if pattern.search(line):
                yield f"{name}:{number}: {line.strip()!r}: {instead}"
        if Path(name).suffix in CODE and LOOSE_END.search(line):
            yield f"{name}:{number}: a loose end without a reason; write `TODO: what and why`"


def banned_names(name: str, text: str) -> Iterator[str]:
    for part in Path(name).with_suffix("").parts:
        if part.lower() in BANNED_NAMES:
            yield f"{name}: {part} says nothing; a file is one noun"
    if name.endswith(".py"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef) and BANNED_CLASS.search(node.name):
                yield f"{name}:{node.lineno}: class {node.name}: say what it is"


def traces(name: str, text: str) -> Iterator[str]:
    if name == "tests/test_tidy.py":
        return
    for number, line in enumerate(text.split("\n"), 1):
        if MACHINE.search(line):
            yield f"{name}:{number}: a path of one machine"
        if TRACKER.search(line):
            yield f"{name}:{number}: the text must stand without a tracker"
        for host in HOSTS.findall(line):
            if host not in KNOWN_HOSTS and not LOCAL_HOST.match(host):
                yield f"{name}:{number}: unknown host {host}"


def missing_docstrings(name: str, text: str) -> Iterator[str]:
    if Path(name).suffix not in {".py", ".pyx"} or not text.strip():
        return
    stripped = re.sub(r"\A(\s*#[^\n]*\n)*\s*", "", text)
    if not re.match(r'[rR]?("""|\'\'\')\S', stripped):
        yield f"{name}: no docstring: what it is, what it is not, its invariants"


def incomplete_modules(names: set[str]) -> Iterator[str]:
    """Every compiled module has its header and its Python face, and neither stands alone."""
    stems = {
        suffix: {n.removesuffix(suffix) for n in names if n.endswith(suffix)} for suffix in (".pyx", ".pxd", ".pyi")
    }
    for suffix in (".pxd", ".pyi"):
        for stem in sorted(stems[".pyx"] - stems[suffix]):
            yield f"{stem}.pyx has no {suffix}"
        for stem in sorted(stems[suffix] - stems[".pyx"]):
            if not stem.endswith("__init__"):
                yield f"{stem}{suffix} has no .pyx"


# ---- the tree obeys them ---------------------------------------------------------------------------------------------

RULES = (
    too_long_files,
    too_long_lines,
    too_long_functions,
    stray_whitespace,
    banned_words,
    banned_names,
    traces,
    missing_docstrings,
)


@pytest.fixture(scope="module")
def tree() -> list[tuple[str, str]]:
    return [read(path) for path in files()]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(tree, rule):
    complaints = [complaint for name, text in tree for complaint in rule(name, text)]
    assert not complaints, "\n".join(complaints)


def test_compiled_modules_are_complete():
    assert list(incomplete_modules({str(path.relative_to(ROOT)) for path in files()})) == []


def test_exceptions_still_exist(tree):
    names = {name for name, _ in tree}
    assert [name for name in LONG_FILES if name not in names] == []
    assert [entry for entry in FLAT_DISPATCH if entry.partition(":")[0] not in names] == []


def test_nothing_built_is_committed():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in tracked if BUILT.search(name)] == []


# ---- and they are able to complain -----------------------------------------------------------------------------------

LONG_BODY = "\n".join("    x = 1" for _ in range(FUNCTION_LIMIT))
CYTHON_HEAD = "cdef inline int parse(const char* p,\n                      size_t n) noexcept nogil:\n"

WRONG = [
    (too_long_files, "a.py", "x = 1\n" * 501),
    (too_long_files, "a.pyx", "x = 1\n" * 801),
    (too_long_lines, "a.pxd", "x" * 121 + "\n"),
    (too_long_functions, "a.py", f"def f():\n{LONG_BODY}\n"),
    (too_long_functions, "a.pyx", f"{CYTHON_HEAD}{LONG_BODY}\n"),
    (stray_whitespace, "a.md", "text \n"),
    (stray_whitespace, "a.md", "text"),
    (banned_words, "a.py", "try:\n    pass\nexcept:\n    pass\n"),
    (banned_words, "tests/unit/test_a.py", "    time.sleep(1)\n"),
    (banned_words, "dynomite_mp/a.py", "print(1)\n"),
    (banned_words, "dynomite_mp/cluster/a.py", "x = random.Random(1)\n"),
    (banned_words, "a.py", "x = f()  # type: ignore\n"),
    (banned_words, "a.py", "# TODO later\n"),
    (banned_words, "dynomite_mp/a.pyx", 'include "b.pyx"\n'),
    (banned_names, "dynomite_mp/utils.py", ""),
    (banned_names, "a.py", "class RingManager:\n    pass\n"),
    (traces, "a.md", "see /" + "home/me/x\n"),
    (traces, "a.py", "URL = 'https://" + "packages.invalid/simple'\n"),
    (traces, "a.md", "as in issue " + "12\n"),
    (missing_docstrings, "a.pyx", "# cython: x\nimport os\n"),
    (missing_docstrings, "a.py", "import os\n"),
]
RIGHT = [
    (too_long_files, "a.py", "x = 1\n" * 500),
    (too_long_functions, "a.pyx", f"{CYTHON_HEAD}    return 1\n\n\nX = [\n{LONG_BODY}]\n"),
    (banned_words, "tests/e2e/test_a.py", "    time.sleep(1)\n"),
    (banned_words, "tests/unit/test_a.py", "    await asyncio.sleep(0)\n"),
    (banned_words, "a.py", "# TODO: shrink the table once every reader of it is gone\n"),
    (traces, "a.md", "https://github.com/x/y http://127.0.0.1:22222/info /var/lib/x file:///etc ~/work/x\n"),
    (missing_docstrings, "a.pyx", '# cython: x\n"""It is a thing."""\n'),
    (missing_docstrings, "__init__.py", ""),
]


@pytest.mark.parametrize(("rule", "name", "text"), WRONG, ids=lambda value: getattr(value, "__name__", ""))
def test_rule_complains(rule, name, text):
    assert len(list(rule(name, text))) == 1


@pytest.mark.parametrize(("rule", "name", "text"), RIGHT, ids=lambda value: getattr(value, "__name__", ""))
def test_rule_is_silent(rule, name, text):
    assert list(rule(name, text)) == []


def test_incomplete_modules_are_named():
    assert list(incomplete_modules({"p/a.pyx", "p/a.pxd", "p/b.pyi"})) == ["p/a.pyx has no .pyi", "p/b.pyi has no .pyx"]
