"""The table of calls that a client's program goes through, and what the answers are compared with."""

import sys

import numpy

CATS = range(281, 286)  # ImageNet's classes of cats

calls = []


def call(title, when=True):
    """A row of the table; `when` is false for what this run has not got."""

    def add(check):
        if when:
            calls.append((title, check))
        return check

    return add


def same(left, right):
    assert left is not None and left.shape == right.shape and left.dtype == right.dtype, (left, right)
    assert left.tobytes() == right.tobytes(), f"{numpy.abs(left - right).max()} apart"


def close(left, right):
    """Of JSON and bytes, of batches of another size."""
    assert left.shape == right.shape and numpy.allclose(left, right, rtol=1e-4, atol=1e-4)


def tell(title, error=None):
    """Prints a row; whether it is as it should be."""
    if error is None:
        print(f"ok      {title}", flush=True)
    else:
        print(f"not ok  {title}\n        {type(error).__name__}: {error}", flush=True)
    return error is None


def attempt(title, check):
    try:
        check()
        return tell(title)
    except Exception as error:
        return tell(title, error)


def finish(passed, client):
    """The last line, and 1 as the exit code where a call did not do what it should."""
    print(f"{sum(passed)} of {len(passed)} calls of {client} do what they should")
    sys.exit(not all(passed))
