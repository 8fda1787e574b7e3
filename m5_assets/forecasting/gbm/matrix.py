"""A table of features on disk, which LightGBM reads in batches.

Training needs each row three times: for the bin bounds, for the global member's bins and for its department's bins. On
disk, it is computed once and does not take up memory.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from m5_assets.forecasting.features.base import Matrix


class DiskMatrix:
    """(R, F) float32 in a temporary file, in row-major order.

    The file has no name, so nothing is left behind however the process ends. It is in the folder for temporary files:
    TMPDIR, or else /tmp, which is also the scratch space of SageMaker jobs (SageMaker developer guide, "SageMaker AI
    environment variables and the default paths for training storage locations").
    """

    def __init__(self, rows: int, columns: int) -> None:
        """Open the file.

        Args:
            rows: R.
            columns: F.

        Raises:
            OSError: the disk has not enough free space for the rows.
        """
        self.rows, self.columns = rows, columns
        folder, needed = tempfile.gettempdir(), rows * columns * 4
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise OSError(
                f"{folder} has {free / 1e9:,.1f} GB free, but the training rows need {needed / 1e9:,.1f} GB; free some "
                "space, set TMPDIR to another folder, or train with a smaller max_rows"
            )
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `__exit__`

    def __enter__(self) -> DiskMatrix:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, first: int, values: Matrix) -> None:
        """Write rows, starting at row `first`."""
        self._file.seek(first * self.columns * 4)
        self._file.write(np.ascontiguousarray(values, np.float32).data)
        self._file.flush()

    def read(self, first: int, stop: int) -> Matrix:
        """Return the rows from `first` to `stop`.

        Raises:
            EOFError: they were not written.
        """
        values = np.empty((stop - first, self.columns), np.float32)
        if os.preadv(self._file.fileno(), [values.data], first * self.columns * 4) < values.nbytes:
            raise EOFError(f"the rows {first} to {stop} are not in the matrix of {self.rows}")
        return values

    def part(self, first: int, stop: int) -> lgb.Sequence:
        """Return the rows from `first` to `stop` as LightGBM's sequence."""
        return _Part(self, first, stop)


class BatchDataset(lgb.Dataset):  # type: ignore[misc]  # the library is untyped
    """A dataset read in batches that gets the same bins as one in memory.

    When it creates bins, LightGBM derives its sampling seed from `seed` and drops features that `min_data_in_leaf`
    makes useless. For a batched dataset it uses only the dataset's own parameters, so both would be lost.
    """

    def get_params(self) -> dict[str, Any]:
        """Return all parameters instead of only the dataset's own."""
        return dict(self.params or {})


class _Part(lgb.Sequence):  # type: ignore[misc]  # the library is untyped
    def __init__(self, matrix: DiskMatrix, first: int, stop: int) -> None:
        self._matrix, self._first, self._stop = matrix, first, stop

    def __len__(self) -> int:
        return self._stop - self._first

    def __getitem__(self, index: int | slice | list[int]) -> npt.NDArray[Any]:
        if isinstance(index, slice):
            return self._matrix.read(self._first + index.start, self._first + index.stop)
        if isinstance(index, list):
            raise TypeError("rows are read one by one or in a slice")
        first = self._first + int(index)
        row: npt.NDArray[np.float64] = self._matrix.read(first, first + 1)[0].astype(np.float64)
        return row  # LightGBM samples rows for its bins as doubles
