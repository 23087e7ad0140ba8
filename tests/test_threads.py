import threading

from fusion_ln.threads import map_with_progress


def test_results_come_in_order_and_only_a_few_are_held_at_once():
    held, most, lock = 0, 0, threading.Lock()

    def work(number):
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        return number * number

    for number, result in enumerate(map_with_progress("Squares", work, range(500))):
        assert result == number * number
        with lock:
            held -= 1
    assert most < 100
