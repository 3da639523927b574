"""MessagePack with arrays: openpi's bytes, every array that may travel, and whatever a stranger sends."""

import resource
import sys
from contextlib import suppress

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from act_eval.errors import RemoteError
from act_eval.serving.messages import MOST_ENTRIES, pack, unpack

DTYPES = [np.bool_, np.uint8, np.int32, np.int64, np.float16, np.float32, np.float64]


@given(hnp.arrays(st.sampled_from(DTYPES), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0)))
def test_an_array_comes_back_as_it_was(array: np.ndarray):
    back = unpack(pack({"a": array}))["a"]
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()
    assert back.flags.writeable


def test_an_array_has_the_bytes_that_openpi_gives_it():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    by_hand = {b"__ndarray__": True, b"data": array.tobytes(), b"dtype": "<f4", b"shape": (2, 3)}
    assert pack({"a": array, "s": np.float32(2.5)}) == msgpack.packb(
        {"a": by_hand, "s": {b"__npgeneric__": True, b"data": 2.5, b"dtype": "<f4"}}
    )


def test_an_array_of_the_other_byte_order_keeps_its_numbers():
    assert unpack(pack({"a": np.array([1, 2], ">i4")}))["a"].tolist() == [1, 2]


def array_of(data: object = b"", dtype: object = "<f4", shape: object = (0,)) -> bytes:
    return msgpack.packb({"a": {b"__ndarray__": True, b"data": data, b"dtype": dtype, b"shape": shape}})


HOSTILE = {
    "nothing": (b"", "0 bytes are no message"),
    "half a message": (pack({"a": np.zeros(9)})[:-3], "are no message"),
    "more than a message": (pack({}) + b"\x00", "extra data"),
    "a reserved byte": (b"\xc1", "are no message"),
    "text that is none": (b"\x81\xa1a\xda\x00\x02\xff\xfe", "UnicodeDecodeError"),
    "pickle": (b"\x80\x04\x95\x10\x00\x00\x00", "are no message"),
    "a list": (msgpack.packb([1]), "must be a map with text as keys, got list"),
    "a number as key": (b"\x81\x01\x02", "are no message"),
    "nested without end": (b"\x91" * 5000, "are no message"),
    "a list of billions": (b"\x81\xa1a\xdd\xff\xff\xff\xff", "exceeds max_array_len"),
    "a map of billions": (b"\xdf\xff\xff\xff\xff", "exceeds max_map_len"),
    "an extension": (msgpack.packb({"a": msgpack.ExtType(5, b"x")}), "extension 5 is not part of the protocol"),
    "an array of objects": (array_of(dtype="|O"), "must be bool, integer or float, as in '<f4', got '|O'"),
    "an array of records": (array_of(dtype="V1000000000"), "must be bool, integer or float"),
    "an array of arrays": (array_of(dtype="(100000,100000)f4"), "must be bool, integer or float"),
    "an unknown precision": (array_of(dtype="<f1"), "are no message"),
    "too little data": (array_of(b"\0" * 8, shape=(3,)), r"float32 and shape \(3,\) has 8 bytes"),
    "too much data": (array_of(b"\0" * 8, shape=(1,)), r"float32 and shape \(1,\) has 8 bytes"),
    "a negative length": (array_of(shape=(-1,)), "shape must be up to 8 whole numbers"),
    "a length that is none": (array_of(shape=(1.5,)), "shape must be up to 8 whole numbers"),
    "a length of a bool": (array_of(b"\0" * 4, shape=(True,)), "shape must be up to 8 whole numbers"),
    "axes without end": (array_of(b"\0" * 4, shape=(1,) * 9), "shape must be up to 8 whole numbers"),
    "an empty array as large as can be": (array_of(shape=(2**62, 0)), "are no message"),
    "data that is text": (array_of("abcd", shape=(1,)), "data must be bytes, got str"),
    "a scalar that is a list": (
        msgpack.packb({"a": {b"__npgeneric__": True, b"data": [1], b"dtype": "<f4"}}),
        "a number",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_message_is_refused(name: str):
    data, text = HOSTILE[name]
    with pytest.raises(RemoteError, match=text):
        unpack(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_refused(data: bytes):
    with suppress(RemoteError):
        assert isinstance(unpack(data), dict)


@given(st.data())
def test_a_damaged_message_is_a_message_or_refused(data: st.DataObject):
    intact = bytearray(pack({"a": np.arange(5, dtype=np.float32), "b": {"c": [1, "x"]}}))
    for _ in range(data.draw(st.integers(1, 4))):
        intact[data.draw(st.integers(0, len(intact) - 1))] = data.draw(st.integers(0, 255))
    with suppress(RemoteError):
        assert isinstance(unpack(bytes(intact)), dict)


def test_lists_that_announce_much_in_every_level_reserve_little():
    deep = b"\x81\xa1a" + (b"\xdc" + MOST_ENTRIES.to_bytes(2, "big")) * 400
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RemoteError):
        unpack(deep)
    scale = 1 if sys.platform == "darwin" else 1024
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * scale < 100 * 2**20


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.array(["a"]), "arrays of <U1 cannot travel"),
        (np.array([object()]), "arrays of object cannot travel"),
        (np.zeros(2, np.complex64), "arrays of complex64 cannot travel"),
        (object(), "object cannot travel; numbers, text, lists, maps and NumPy arrays can"),
        ({1, 2}, "set cannot travel"),
        (2**70, "cannot be packed"),
    ],
    ids=["texts", "array of objects", "complex numbers", "object", "set", "large number"],
)
def test_what_cannot_travel_is_named(value: object, text: str):
    with pytest.raises(RemoteError, match=text):
        pack({"a": value})
