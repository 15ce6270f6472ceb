"""Where things are: the project's root, its notebooks (one a stage) and its profiles."""

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from m2s_lib.errors import M2SError

STAGE_NAME = re.compile(r"\d\d_[A-Za-z0-9_]+")


def project_root() -> Path:
    """The folder that holds notebooks/ and data_manifests/.

    In this order: the environment variable M2S_ROOT, the current folder and its parents, the folder that
    m2s_lib lies in.
    """
    named = os.environ.get("M2S_ROOT", "")
    if named:
        if not is_root(Path(named)):
            raise M2SError(
                f"M2S_ROOT is {named!r}, which has no notebooks/ and data_manifests/: correct or unset it"
            )
        return Path(named).resolve()
    here = Path.cwd()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[2]):
        if is_root(folder):
            return folder
    raise M2SError(
        f"no project found from {here} upwards: go to the checkout (it has notebooks/ and data_manifests/) "
        "or set M2S_ROOT to it"
    )


def is_root(folder: Path) -> bool:
    """Whether `folder` looks like the project's root."""
    return (folder / "notebooks").is_dir() and (folder / "data_manifests").is_dir()


def root_or_default(root: str | os.PathLike | None) -> Path:
    """`root` as an absolute path, the project's own root when None."""
    return project_root() if root is None else Path(root).absolute()


def stage_names(notebooks_dir: str | os.PathLike) -> list[str]:
    """Names of the stages, in run order: the stems of NN_name.ipynb files.

    Raises M2SError when there are none or two share a number.
    """
    folder = Path(notebooks_dir)
    names = sorted(p.stem for p in folder.glob("*.ipynb") if STAGE_NAME.fullmatch(p.stem))
    if not names:
        raise M2SError(f"no notebooks named NN_name.ipynb in {folder}")
    twins = sorted({n for n in names if sum(m[:2] == n[:2] for m in names) > 1})
    if twins:
        raise M2SError(
            f"notebooks in {folder} share a number: {', '.join(twins)}; it is the run order, rename one"
        )
    return names


def find_stage(text: object, names: Iterable[str]) -> str | None:
    """The stage that '03', 3 or '03_scene_mining' means, None when there is none."""
    text = str(text).zfill(2)
    return next((n for n in names if text in (n, n[:2])), None)


def unknown_stage(text: object, names: Iterable[str], where: str = "") -> str:
    """The sentence that refuses an unknown notebook."""
    names = list(names)
    near = difflib.get_close_matches(str(text), names, n=1)
    guess = f" (did you mean {near[0]}?)" if near else ""
    return f"{where}there is no notebook {str(text)!r}{guess}; the notebooks are {', '.join(names)}"


def run_folder(text: str | os.PathLike, base: Path) -> Path:
    """An absolute run directory: `text` as it is when absolute, else seen from `base`; M2SError for a URL."""
    if is_url(text):
        raise M2SError(
            f"run_dir is the URL {shown_url(str(text))}: only `m2s run` mirrors URLs, give a folder"
        )
    return Path(os.path.normpath(base / Path(text).expanduser()))


def is_url(text: object) -> bool:
    """Whether a run directory is a URL rather than a folder."""
    return isinstance(text, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def shown_url(url: str) -> str:
    """The URL without user, password and query, as it may be printed."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
