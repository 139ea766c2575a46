"""Builds the compiled modules; everything else about the package stands in pyproject.toml.

DYNOMITE_MP_SANITIZE=1 builds with the address and undefined-behaviour sanitizers (make asan).
DYNOMITE_MP_NO_EXTENSIONS=1 builds none: the Makefile installs the commands first and compiles in place afterwards.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "embedsignature": False,
    "freethreading_compatible": True,
}
COMPILE = ["-O2", "-g0", "-fno-strict-aliasing"]
LINK: list[str] = []
if os.environ.get("DYNOMITE_MP_SANITIZE"):
    SANITIZE = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-fno-sanitize-recover=undefined"]
    COMPILE = ["-O1", "-g", "-fno-strict-aliasing", *SANITIZE]
    LINK = SANITIZE


JOBS = os.cpu_count() or 1


def extensions() -> list[Extension]:
    """One extension per .pyx, named by its path."""
    found: list[Extension] = []
    if os.environ.get("DYNOMITE_MP_NO_EXTENSIONS"):
        return found
    for path in sorted(Path("dynomite_mp").rglob("*.pyx")):
        name = ".".join(path.with_suffix("").parts)
        found.append(
            Extension(
                name,
                [str(path)],
                include_dirs=["dynomite_mp/ipc"],
                depends=[str(p) for p in Path("dynomite_mp").rglob("*.h")],
                extra_compile_args=COMPILE,
                extra_link_args=LINK,
            )
        )
    return found


setup(
    ext_modules=cythonize(
        extensions(),
        build_dir="build/cython",
        compiler_directives=DIRECTIVES,
        nthreads=JOBS,
    ),
    options={"build_ext": {"parallel": JOBS}},
)
