"""One thread for small fits: on a busy machine, more of them wait for each other for seconds."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    import sklearn.ensemble  # noqa: F401  (its OpenMP library must be loaded before it can be limited)
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield
