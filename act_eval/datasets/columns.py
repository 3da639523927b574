"""Columns of Parquet files as NumPy arrays; every defect of a file becomes a `DatasetError` that names it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from act_eval.errors import DatasetError


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what pyarrow raises about a file into a `DatasetError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing; the data set is incomplete") from error
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise DatasetError(f"{path} is damaged: {error}") from error


def open_parquet(path: Path, names: Sequence[str] = ()) -> pq.ParquetFile:
    """Open a file and check that it has the columns `names`.

    Raises:
        DatasetError: if it is missing or damaged, or lacks a column.
    """
    with reading(path):
        file = pq.ParquetFile(path)
        lacking = [name for name in names if name not in set(file.schema_arrow.names)]
    if lacking:
        raise DatasetError(f"{path} has no column {', '.join(lacking)}")
    return file


def column_values(column: pa.ChunkedArray, width: int, what: str) -> NDArray[Any]:
    """Return a numeric column as (L, width), or (L,) for width 1.

    Vectors may be lists of fixed or of variable size: LeRobot has written both.

    Raises:
        DatasetError: if a value is missing or no number, or a vector has another length; `what` names the column.
    """
    nested = pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)
    flat = pc.call_function("list_flatten", [column]) if nested else column
    numeric = pa.types.is_integer(flat.type) or pa.types.is_floating(flat.type) or pa.types.is_boolean(flat.type)
    if not numeric or column.null_count or flat.null_count or len(flat) != len(column) * width:
        raise DatasetError(
            f"{what}: a column of type {column.type} should hold {width} numbers in each of {len(column)} rows"
        )
    values = flat.to_numpy()
    return values if width == 1 else np.ascontiguousarray(values).reshape(len(column), width)


def whole_numbers(column: pa.ChunkedArray, what: str) -> NDArray[np.int64]:
    """Return a column of integers (L,).

    Raises:
        DatasetError: if it holds anything else.
    """
    values = column_values(column, 1, what)
    if values.dtype.kind not in "iu":
        raise DatasetError(f"{what} holds values of type {column.type}; whole numbers are needed")
    return values.astype(np.int64)
