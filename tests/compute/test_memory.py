from tiny import finished

CODE = """
import resource
from fusion_ln.threads import keep_freed_memory

def faults(steps):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        for _ in [bytearray(size) for size in (20 << 20, 60 << 20)]:
            pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults(1), end=" ")
keep_freed_memory()
faults(2)
print(faults(10))
"""


def test_memory_that_a_step_frees_serves_the_next_one():
    exit_code, printed = finished(CODE)
    assert exit_code == 0, printed
    once, ten_times = map(int, printed.split())
    assert ten_times < once / 10
