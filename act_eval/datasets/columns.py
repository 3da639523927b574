"""Arrow columns as NumPy arrays."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from act_eval.errors import DatasetError


def column_values(column: pa.ChunkedArray, width: int) -> NDArray[Any]:
    """Return a numeric column as (L, width), or (L,) for width 1.

    Vectors may be lists of fixed or of variable size: LeRobot has written both.

    Raises:
        DatasetError: if a value is missing or a vector has another length.
    """
    nested = pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)
    flat = pc.call_function("list_flatten", [column]) if nested else column
    if column.null_count or flat.null_count or len(flat) != len(column) * width:
        raise DatasetError(f"a column of type {column.type} should hold {width} numbers in each of {len(column)} rows")
    values = flat.to_numpy()
    return values if width == 1 else np.ascontiguousarray(values).reshape(len(column), width)
