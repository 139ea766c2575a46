"""Which module may import which, kept by reading every .py, .pyx, .pxd and .pyi of the package.

    L4  cli, c_command_line, cluster_command, repair_command, __main__
    L3  supervisor*, restart_policy, boot, spawner, process, listeners, paths, pidfile, reload, notify, daemon, status*,
        local_*, launcher, address_block
    L2  workers/*     client/*     store/*
    L1  proto/*   cluster/*   ipc/*          (siblings: none imports another)
    L0  errors, enums, config*, settings, log, process_title

A module imports strictly lower layers and its own package; `cimport` counts. proto/ and cluster/ hold no clock, socket,
randomness or event loop: what they need of those is passed in. Every file is imported by something.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "dynomite_mp"

# First matching prefix of the path below the package decides.
LAYERS = {
    "proto": 1, "cluster": 1, "ipc": 1,
    "workers": 2, "client": 2, "store": 2,
    "supervisor": 3, "restart_policy": 3, "listeners": 3, "notify": 3, "paths": 3, "pidfile": 3, "process": 3,
    "boot": 3, "identity": 3, "daemon": 3, "reload": 3, "spawner": 3, "status": 3,
    "local": 3, "launcher": 3, "address_block": 3,
    "cli": 4, "__main__": 4, "c_command_line": 4, "cluster_command": 4, "repair_command": 4,
    "errors": 0, "enums": 0, "config": 0, "config_values": 0, "settings": 0, "log": 0, "process_title": 0,
}  # fmt: skip
# Beyond the layers: the client library works where there is no shared memory.
FORBIDDEN = {("client", "ipc")}
# Started by name, not imported.
ENTRY_POINTS = {"cli", "__main__"}

PURE = ("proto", "cluster")
IMPURE = {
    "asyncio", "datetime", "fcntl", "mmap", "multiprocessing", "os", "random", "secrets", "select", "selectors",
    "signal", "socket", "ssl", "subprocess", "tempfile", "threading", "time", "uuid", "uvloop",
}  # fmt: skip
# Types of what is passed in; tests/test_tidy.py sees to it that none is made here.
PASSED_IN = {"random.Random"}
# What Cython modules could reach the same things by.
IMPURE_C = re.compile(r"^(posix\.|libc\.time)|^cpython\.pythread")
IMPURE_HEADERS = re.compile(r"(sys/socket|sys/epoll|sys/time|sys/random|time|unistd|netinet/.*|poll|pthread)\.h")


@dataclass(frozen=True)
class Import:
    """One import statement: who imports what, where, and whether only type checkers see it."""

    importer: str  # path below the package without suffix, with dots
    target: str  # the imported module, dotted, absolute
    line: int
    typing_only: bool = False
    top_level: bool = True


class Tree:
    """The modules of a package and their imports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = sorted(p for suffix in ("py", "pyx", "pxd", "pyi") for p in folder.rglob(f"*.{suffix}"))
        self.modules = {self.name(path) for path in self.files}
        self.packages = {self.name(path) for path in self.files if path.stem == "__init__"}
        self.imports = [found for path in self.files for found in self.read(path)]

    def name(self, path: Path) -> str:
        parts = path.relative_to(self.folder).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)

    def read(self, path: Path) -> Iterator[Import]:
        text = path.read_text()
        package = [PACKAGE, *path.relative_to(self.folder).parent.parts]
        reader = python_imports if path.suffix in (".py", ".pyi") else cython_imports
        for names, line, typing_only, top_level in reader(text, package):
            for name in names:  # a .pyi is read by type checkers only
                yield Import(self.name(path), name, line, typing_only or path.suffix == ".pyi", top_level)

    def own_target(self, found: Import) -> str | None:
        """The module of this package that an import names; `from a.b import c` may name a.b.c or a.b."""
        if not found.target.startswith(PACKAGE + "."):
            return None
        name = found.target.removeprefix(PACKAGE + ".")
        while name and name not in self.modules:
            name = name.rpartition(".")[0]
        return name or None


Found = tuple[list[str], int, bool, bool]


def python_imports(text: str, package: list[str]) -> Iterator[Found]:
    """Imports of Python source, also those inside functions."""
    tree = ast.parse(text)
    typing_only = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.dump(branch.test)
        for part in branch.body
        for node in ast.walk(part)
    }
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield [alias.name for alias in node.names], node.lineno, id(node) in typing_only, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names]
            yield names, node.lineno, id(node) in typing_only, id(node) in top


CYTHON_FROM = re.compile(r"^(\s*)from\s+(\.*)([\w.]*)\s+c?import\s+\(?\s*([^#)\n]*)")
CYTHON_PLAIN = re.compile(r"^(\s*)c?import\s+([\w., ]+)")
CYTHON_HEADER = re.compile(r"""^\s*cdef\s+extern\s+from\s+["']<?([^"'>]+)>?["']""")


def cython_imports(text: str, package: list[str]) -> Iterator[Found]:
    """Imports and cimports of Cython source, and the C headers it names (as `header:NAME`)."""
    text = re.sub(r"\\\n", " ", text)
    text = re.sub(r"\(([^()]*)\)", lambda m: "(" + m[1].replace("\n", " ") + ")" + "\n" * m[1].count("\n"), text)
    for line_number, line in enumerate(text.splitlines(), 1):
        if match := CYTHON_FROM.match(line):
            indent, dots, module, names = match.groups()
            base = package[: len(package) - len(dots) + 1] if dots else []
            full = ".".join([*base, *([module] if module else [])])
            items = [name.split(" as ")[0].strip() for name in names.split(",") if name.strip()]
            yield [f"{full}.{item}" for item in items], line_number, False, not indent
        elif match := CYTHON_PLAIN.match(line):
            items = [name.split(" as ")[0].strip() for name in match[2].split(",")]
            yield items, line_number, False, not match[1]
        elif match := CYTHON_HEADER.match(line):
            yield [f"header:{match[1]}"], line_number, False, True


def layer(module: str) -> int | None:
    """Layer of a module; supervisor_x belongs to supervisor, config_x to config."""
    head = module.partition(".")[0]
    if head in LAYERS:
        return LAYERS[head]
    return LAYERS.get(head.partition("_")[0])


def group(module: str) -> str:
    """What counts as "its own package"."""
    return module.partition(".")[0]


# ---- the rules: each returns sentences about what breaks it ----------------------------------------------------------


def wrong_directions(tree: Tree) -> list[str]:
    found = []
    for edge in tree.imports:
        target = tree.own_target(edge)
        if target is None or target == edge.importer:
            continue
        where = f"{edge.importer} -> {target} (line {edge.line})"
        upper, lower = layer(edge.importer), layer(target)
        if edge.importer == "__init__":
            found.append(f"{where}: importing the package must start nothing")
        elif upper is None or lower is None:
            found.append(f"{where}: {edge.importer if upper is None else target} is in no layer")
        elif group(edge.importer) == group(target):
            continue
        elif (group(edge.importer), group(target)) in FORBIDDEN:
            found.append(f"{where}: {group(edge.importer)} may not use {group(target)}")
        elif lower > upper:
            found.append(f"{where}: L{upper} imports L{lower}")
        elif lower == upper and upper > 0 and "." in edge.importer + target:
            found.append(f"{where}: siblings of L{upper}")
    return found


def without_layer(tree: Tree) -> list[str]:
    return [
        f"{module} is in no layer" for module in sorted(tree.modules) if module != "__init__" and layer(module) is None
    ]


def cycles(tree: Tree) -> list[str]:
    """Import cycles at the top level of modules; Cython's own cimports are part of them."""
    edges: dict[str, set[str]] = {}
    for edge in tree.imports:
        target = tree.own_target(edge)
        if target and target != edge.importer and edge.top_level and not edge.typing_only:
            edges.setdefault(edge.importer, set()).add(target)
    done: set[str] = set()
    found = []

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            found.append(" -> ".join([*path[path.index(module) :], module]))
        elif module not in done:
            for target in sorted(edges.get(module, ())):
                visit(target, [*path, module])
            done.add(module)

    for module in sorted(edges):
        visit(module, [])
    return found


def impurities(tree: Tree) -> list[str]:
    found = []
    for edge in tree.imports:
        if group(edge.importer) not in PURE or edge.typing_only or edge.target in PASSED_IN:
            continue
        top = edge.target.partition(".")[0]
        header = edge.target.removeprefix("header:") if edge.target.startswith("header:") else ""
        if top in IMPURE or IMPURE_C.match(edge.target) or (header and IMPURE_HEADERS.fullmatch(header)):
            found.append(f"{edge.importer} (line {edge.line}) uses {edge.target}: pass it in")
    return found


def unused(tree: Tree, elsewhere: Mapping[str, str]) -> list[str]:
    """Modules that nothing imports; `elsewhere` is further Python (tests). A dotted name in any text counts too."""
    edges = [edge for edge in tree.imports if tree.own_target(edge) != edge.importer]
    for name, text in elsewhere.items():
        edges += [Import(name, target, line) for targets, line, *_ in python_imports(text, []) for target in targets]
    used = {tree.own_target(edge) for edge in edges}
    texts = "\n".join([*(path.read_text() for path in tree.files), *elsewhere.values()])
    return [
        f"{module} is imported by nothing"
        for module in sorted(tree.modules - tree.packages - used - ENTRY_POINTS)
        if not re.search(rf"{PACKAGE}\.{re.escape(module)}\b", texts)
    ]


# ---- the package obeys them ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree(ROOT / PACKAGE)


def sources_of_tests() -> dict[str, str]:
    return {str(p): p.read_text() for p in (ROOT / "tests").rglob("*.py")}


def test_imports_point_downwards(tree):
    broken = wrong_directions(tree)
    assert not broken, "\n".join(broken)


def test_every_module_is_in_a_layer(tree):
    broken = without_layer(tree)
    assert not broken, "\n".join(broken)


def test_there_are_no_import_cycles(tree):
    broken = cycles(tree)
    assert not broken, "\n".join(broken)


def test_pure_packages_are_pure(tree):
    broken = impurities(tree)
    assert not broken, "\n".join(broken)


def test_every_file_is_imported_by_something(tree):
    broken = unused(tree, sources_of_tests())
    assert not broken, "\n".join(broken)


# ---- and they are able to fail ---------------------------------------------------------------------------------------


def package(tmp_path: Path, **files: str) -> Tree:
    """A small package; `proto__resp_pyx="..."` is proto/resp.pyx."""
    for name, text in files.items():
        stem, _, suffix = name.rpartition("_")
        path = tmp_path / PACKAGE / (stem.replace("__", "/") + "." + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Tree(tmp_path / PACKAGE)


def test_an_upward_import_is_named(tmp_path):
    tree = package(tmp_path, proto__resp_py="def f():\n    from ..workers import base\n", workers__base_py="")
    assert wrong_directions(tree) == ["proto.resp -> workers.base (line 2): L1 imports L2"]


def test_a_sibling_cimport_is_named(tmp_path):
    tree = package(
        tmp_path,
        ipc__ring_pyx="from dynomite_mp.proto.buffer cimport (\n    Buf,\n    buf_len)\n",
        proto__buffer_pxd="",
        proto__buffer_pyx="cimport dynomite_mp.ipc.ring\n",
        ipc__ring_pxd="",
    )
    assert wrong_directions(tree) == [
        "ipc.ring -> proto.buffer (line 1): siblings of L1",
        "ipc.ring -> proto.buffer (line 1): siblings of L1",
        "proto.buffer -> ipc.ring (line 1): siblings of L1",
    ]
    assert cycles(tree) == ["ipc.ring -> proto.buffer -> ipc.ring"]


def test_stubs_may_name_each_other(tmp_path):
    files = {"ipc__a_pyx": "from .b import x\n", "ipc__b_pyx": "", "ipc__b_pyi": "from .a import y\n"}
    assert cycles(package(tmp_path, **files)) == []
    assert cycles(package(tmp_path, **files, ipc__b_pxd="from .a cimport y\n")) == ["ipc.a -> ipc.b -> ipc.a"]


def test_relative_imports_inside_a_package_are_fine(tmp_path):
    tree = package(tmp_path, proto__a_pyx="from .b cimport x\nfrom . cimport c\n", proto__b_pxd="", proto__c_pxd="")
    assert wrong_directions(tree) == []
    assert {tree.own_target(edge) for edge in tree.imports} == {"proto.b", "proto.c"}


def test_lower_layers_are_fine_and_the_client_stays_off_the_rings(tmp_path):
    tree = package(
        tmp_path,
        client__pool_py="from dynomite_mp.cluster import token\nimport dynomite_mp.ipc.ring\nimport dynomite_mp.errors",
        cluster__token_py="", ipc__ring_py="", errors_py="", config_py="from dynomite_mp import errors\n",
    )  # fmt: skip
    assert wrong_directions(tree) == ["client.pool -> ipc.ring (line 2): client may not use ipc"]


def test_a_stray_module_is_named(tmp_path):
    tree = package(tmp_path, stray_py="", supervisor_signals_py="", config_values_py="")
    assert without_layer(tree) == ["stray is in no layer"]


def test_a_clock_is_named(tmp_path):
    tree = package(
        tmp_path,
        cluster__failure_py="import time\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import random\n",
        proto__resp_pyx='from posix.time cimport clock_gettime\ncdef extern from "<sys/socket.h>":\n    pass\n',
        workers__io_py="import time\n",
    )
    assert impurities(tree) == [
        "cluster.failure (line 1) uses time: pass it in",
        "proto.resp (line 1) uses posix.time.clock_gettime: pass it in",
        "proto.resp (line 2) uses header:sys/socket.h: pass it in",
    ]


def test_a_file_that_nothing_imports_is_named(tmp_path):
    tree = package(
        tmp_path,
        cli_py="from dynomite_mp.proto import used\n",
        proto__used_py="",
        proto__lost_py="",
        proto__named_py="",
    )
    assert unused(tree, {"t": 'import_module("dynomite_mp.proto.named")'}) == ["proto.lost is imported by nothing"]
