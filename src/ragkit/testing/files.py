"""What a saved folder must be: plain files without pickles, which may be moved.

Knows folders and bytes, no role.
"""

from __future__ import annotations

import pickletools
import shutil
import zipfile
from pathlib import Path
from typing import Any

from ragkit.protocols import SupportsSave
from ragkit.testing.asserting import attempt, must, refused

_LOADER = "load is a classmethod: type(component).load(directory) must open what save wrote"


def saved(component: SupportsSave, folder: Path) -> Path:
    """A folder below another that a component was saved to."""
    target = folder / "saved"
    target.mkdir()
    with attempt("save(directory)", "it must write all that load needs below that folder"):
        component.save(target)
    must(
        any(one.is_file() for one in target.rglob("*")),
        "save(directory) wrote nothing; it must write all that load needs below that folder",
    )
    return target


def loaded(component: SupportsSave, directory: Path) -> Any:
    """What the component's class loads from a folder."""
    with attempt("load(directory)", _LOADER):
        found = type(component).load(directory)
    must(found is not None, f"load(directory) returned None; {_LOADER}")
    return found


def moved(directory: Path) -> Path:
    """The same folder under another name elsewhere; the old one is gone."""
    target = directory.parent / "elsewhere" / "renamed"
    target.parent.mkdir()
    shutil.move(directory, target)
    return target


def check_no_pickle(directory: Path) -> None:
    """Assert that no file below is or holds a pickle."""
    for file in _files(directory):
        must(
            not pickled(file),
            f"save wrote a pickle: {file.relative_to(directory)}; whoever loads it runs the code "
            "in it. Write JSON, raw numbers or safetensors",
        )


def check_no_path(directory: Path) -> None:
    """Assert that no file below names the folder that it was saved to."""
    name = str(directory).encode()
    for file in _files(directory):
        must(
            name not in file.read_bytes(),
            f"save wrote the path of its folder into {file.relative_to(directory)}; write relative "
            "paths, so that the folder may be moved",
        )


def check_damage(component: SupportsSave, directory: Path) -> None:
    """Assert that each file below, missing or cut in half, is missed when it is loaded."""
    kind = type(component)
    for file in _files(directory):
        name, content = str(file.relative_to(directory)), file.read_bytes()
        file.unlink()
        for how, rest in (("missing", None), ("cut in half", content[: len(content) // 2])):
            if rest is not None:
                if not content:
                    continue
                file.write_bytes(rest)
            refused(
                f"load(directory) with {name} {how}",
                lambda: kind.load(directory),
                "compare sizes or checksums before you read a file, and refuse a damaged one",
            )
        file.write_bytes(content)


def pickled(file: Path) -> bool:
    """Whether a file is a pickle, or an archive or array that holds one."""
    if file.suffix in (".pkl", ".pickle"):
        return True
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith((".pkl", ".pickle")) for name in archive.namelist())
    with file.open("rb") as stream:
        start = stream.read(2)
        if start == b"\x93N":  # numpy's own format: objects within are pickled
            return b"'|O'" in start + stream.read(200)
        stream.seek(0)
        return start[:1] == b"\x80" and start[1:] in b"\x02\x03\x04\x05" and _ends(stream)


def _ends(stream: Any) -> bool:
    """Whether a stream reads as a whole pickle (nothing in it is run)."""
    try:
        for _ in pickletools.genops(stream):
            pass
    except Exception:
        return False
    return True


def _files(directory: Path) -> list[Path]:
    return sorted(file for file in directory.rglob("*") if file.is_file())
