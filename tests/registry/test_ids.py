import os
import time

from registry.ids import new_id


def test_has_prefix_and_26_lower_case_characters():
    prefix, _, rest = new_id("tsk").partition("_")
    assert prefix == "tsk"
    assert len(rest) == 26
    assert rest == rest.lower()
    assert rest.isalnum()


def test_sorts_by_time():
    ids = []
    for _ in range(5):
        ids.append(new_id("prd"))
        time.sleep(0.002)
    assert ids == sorted(ids)


def test_does_not_repeat():
    assert len({new_id("smp") for _ in range(10_000)}) == 10_000


def test_ids_sort_as_they_were_made_also_within_a_millisecond():
    made = [new_id("tsk") for _ in range(2000)]
    assert made == sorted(made)
    assert len(set(made)) == 2000


def test_a_clock_that_goes_back_changes_no_order(monkeypatch):
    before = new_id("tsk")
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000)
    assert new_id("tsk") > before


def test_a_forked_process_makes_others():
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with os.fdopen(writer, "w") as pipe:
            pipe.write(" ".join(new_id("smp")[-16:] for _ in range(100)))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        theirs = set(pipe.read().split())
    os.waitpid(pid, 0)
    assert len(theirs) == 100
    assert not theirs & {new_id("smp")[-16:] for _ in range(100)}
