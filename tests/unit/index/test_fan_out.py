from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sparsegate_server.index.fan_out import fan_out


def square(number: int) -> int:
    return number * number


def test_results_come_in_order() -> None:
    with ThreadPoolExecutor(3) as pool:
        assert fan_out(pool, square, range(20)) == [square(number) for number in range(20)]
        assert fan_out(pool, square, []) == []
    assert fan_out(None, square, [1, 2]) == [1, 4]


def test_a_single_item_stays_in_the_calling_thread() -> None:
    with ThreadPoolExecutor(3) as pool:
        assert fan_out(pool, lambda _: threading.get_ident(), [0]) == [threading.get_ident()]


def test_a_pool_full_of_callers_does_not_lock_up() -> None:
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(fan_out, pool, square, range(5)) for _ in range(50)]
        assert all(call.result() == [0, 1, 4, 9, 16] for call in calls)


def test_an_error_reaches_the_caller() -> None:
    with ThreadPoolExecutor(2) as pool, pytest.raises(ZeroDivisionError):
        fan_out(pool, lambda number: 1 // number, [1, 0, 2])
