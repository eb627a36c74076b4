"""Reads pix2pix-tensorflow's checkpoints through TensorFlow, where it is installed.

A checkpoint is a few files with a common prefix (`model-5000.index`, `.data-00000-of-00001`, `.meta`; in the oldest
format the weights are `model-5000` itself), and a file `checkpoint` in their folder tells the latest prefix. The
reference writes its options beside them, as `options.json`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import math
import os
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.errors import CheckpointError
from export.sources import tensorflow_port
from export.sources.tensorflow_port import Facts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from export.sources.source import Source, Wishes

_SUFFIX = re.compile(r"\.(?:index|meta|data-\d{5}-of-\d{5})$")
_LATEST = re.compile(r'^model_checkpoint_path:\s*"([^"]+)"', re.MULTILINE)
_LIST = "checkpoint"  # the file that tells the latest prefix
_LARGEST_TEXT = 2**20


def is_checkpoint(path: Path) -> bool:
    """Tells whether this is a checkpoint's folder, one of its files, or their common prefix."""
    if path.is_dir():
        return (path / _LIST).is_file() or any(path.glob("*.index"))
    if _SUFFIX.search(path.name) or (path.name == _LIST and path.is_file()):
        return path.exists()
    return any(Path(f"{path}{suffix}").is_file() for suffix in (".index", ".meta"))


def load(path: Path, wishes: Wishes) -> Source:
    """Reads the generator's variables and nothing else; batch size and direction where `options.json` has them.

    Raises CheckpointError where TensorFlow is missing or cannot read the checkpoint, or where it holds anything else
    than such a generator; OptionError for a wish that it cannot grant.
    """
    prefix = _prefix(path)
    files = _files(prefix)
    if importlib.util.find_spec("tensorflow") is None:
        raise CheckpointError(
            f"{path} is a TensorFlow checkpoint, and TensorFlow is not installed; pip install tensorflow-cpu, or write "
            "a .pict file with pix2pix-tensorflow's export-checkpoint.py where it is and give that"
        )
    variables, step = _read(prefix, sum(file.stat().st_size for file in files))
    options = _options(prefix.parent / "options.json")
    facts = Facts(
        _sha256(files),
        step=step,
        batch_size=_whole(options.get("batch_size")),
        direction="BtoA" if options.get("which_direction") == "BtoA" else "AtoB",
        training=options,
    )
    return tensorflow_port.build(path, variables, facts, wishes)


def _prefix(path: Path) -> Path:
    if path.is_dir():
        return _latest(path)
    if path.name == _LIST:
        return _latest(path.parent)
    return path.with_name(_SUFFIX.sub("", path.name))


def _latest(folder: Path) -> Path:
    """Returns the prefix that the folder's list names, or the only one there is."""
    try:
        text = (folder / _LIST).read_bytes()[:_LARGEST_TEXT].decode("utf-8", "replace")
    except FileNotFoundError:
        text = ""
    except OSError as error:
        raise CheckpointError(f"{folder / _LIST}: {error.strerror or error}") from error
    if named := _LATEST.search(text):
        # The list may hold the path on the machine of the training: the files are here all the same.
        return folder / Path(named[1]).name
    prefixes = sorted(file.with_suffix("") for file in folder.glob("*.index"))
    if len(prefixes) != 1:
        there = ", ".join(prefix.name for prefix in prefixes) or "none"
        raise CheckpointError(f"{folder} does not tell its latest checkpoint; give the prefix of one (there: {there})")
    return prefixes[0]


def _files(prefix: Path) -> list[Path]:
    """Returns the files that hold the weights."""
    if prefix.is_file():
        return [prefix]
    index = Path(f"{prefix}.index")
    files = sorted(prefix.parent.glob(f"{_escaped(prefix.name)}.data-*"))
    missing = [
        wanted for wanted, there in ((index, index.is_file()), (f"{prefix}.data-00000-of-00001", files)) if not there
    ]
    if missing:
        raise CheckpointError(f"{prefix} is no whole checkpoint: {missing[0]} is missing")
    return files


def _escaped(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


def _read(prefix: Path, stored: int) -> tuple[dict[str, NDArray[Any]], int | None]:
    """Returns the generator's variables and the step; `stored` bytes hold them."""
    with _quiet():
        tf = importlib.import_module("tensorflow")  # no dependency: imported where it is there and needed

        try:
            reader = tf.train.load_checkpoint(str(prefix))
            shapes = reader.get_variable_to_shape_map()
            wanted = [name for name in shapes if tensorflow_port.is_wanted(name)]
            # Halves take two bytes; what claims more than the files hold must not take memory.
            if 2 * sum(math.prod(shapes[name]) for name in wanted) > stored:
                raise CheckpointError(f"{prefix} tells of more weights than its {stored} bytes can hold; it is damaged")
            variables = {name: reader.get_tensor(name) for name in wanted}
            step = int(reader.get_tensor("global_step")) if "global_step" in shapes else None
        except (tf.errors.OpError, ValueError, TypeError, RuntimeError, LookupError) as error:
            raise CheckpointError(f"{prefix} is damaged, or no TensorFlow checkpoint: {_line(error)}") from error
    if not variables and shapes:
        variables = dict.fromkeys(sorted(shapes)[:3])  # only their names are told
    return variables, step


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps TensorFlow's log off the terminal; it writes to the descriptor, past Python's stderr."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _options(file: Path) -> dict[str, Any]:
    """Returns the options of the training; nothing where they are not there."""
    try:
        content = json.loads(file.read_bytes()[:_LARGEST_TEXT])
    except OSError:
        return {}
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is not JSON: the options of the training cannot be read") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} must be a JSON object: the options of the training")
    return content


def _whole(value: object) -> int | None:
    return value if type(value) is int and value > 0 else None


def _sha256(files: list[Path]) -> str:
    """Returns the digest of the weights' files, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    return digest.hexdigest()
