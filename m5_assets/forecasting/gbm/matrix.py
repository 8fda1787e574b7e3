"""A table of features on disk, which LightGBM reads batch by batch.

A training needs each row three times: for the bounds of the bins, for the bins of the global member, for those of its
department. On disk it is computed once and not held in memory.

Here: `DiskMatrix`, `BatchDataset`. Not here: what its rows are (`rows`), and what LightGBM makes of them (`training`).
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
    """(R, F) float32 in a temporary file, row after row. The file has no name, so that no end of the process leaves it.

    It lies where temporary files do: /tmp, a job's scratch space on SageMaker too, or the folder that TMPDIR names.
    Source: the SageMaker developer guide's page "SageMaker AI environment variables and the default paths for training
    storage locations".
    """

    def __init__(self, rows: int, columns: int) -> None:
        """Make room for the rows.

        Raises:
            OSError: there is not enough.
        """
        self.rows, self.columns = rows, columns
        folder, needed = tempfile.gettempdir(), rows * columns * 4
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise OSError(
                f"{folder} has {free / 1e9:,.1f} GB free and the training rows take {needed / 1e9:,.1f} GB; make room, "
                "let TMPDIR name another folder, or train with a smaller max_rows"
            )
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `__exit__`

    def __enter__(self) -> DiskMatrix:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, first: int, values: Matrix) -> None:
        """Write rows at their place."""
        self._file.seek(first * self.columns * 4)
        self._file.write(np.ascontiguousarray(values, np.float32).data)
        self._file.flush()

    def read(self, first: int, stop: int) -> Matrix:
        """Return rows that were written.

        Raises:
            EOFError: they were not.
        """
        values = np.empty((stop - first, self.columns), np.float32)
        if os.preadv(self._file.fileno(), [values.data], first * self.columns * 4) < values.nbytes:
            raise EOFError(f"the rows {first} to {stop} are not in the matrix of {self.rows}")
        return values

    def part(self, first: int, stop: int) -> lgb.Sequence:
        """Return rows as LightGBM takes them."""
        return _Part(self, first, stop)


class BatchDataset(lgb.Dataset):  # type: ignore[misc]  # the library is untyped
    """A dataset read in batches that gets the bins of one that is given at once.

    LightGBM derives the seed of its sample from `seed`, and leaves out features of which `min_data_in_leaf` would leave
    nothing. Of a dataset of batches it is told the dataset's own parameters alone, and would do neither.
    """

    def get_params(self) -> dict[str, Any]:
        """Return all parameters."""
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
        return row  # LightGBM takes the rows that bins are made from as doubles
