import threading

import anyio
import pytest

from service.intake.upload_slots import UploadSlots
from service.problems import Problem


def test_one_key_leaves_a_slot_to_others():
    async def main():
        slots, gate, done = UploadSlots(3), threading.Event(), []

        async def upload(owner):
            await slots.run(owner, gate.wait)
            done.append(owner)

        async with anyio.create_task_group() as group:
            for _ in range(3):
                slots.require("greedy")
                group.start_soon(upload, "greedy")
            await anyio.wait_all_tasks_blocked()
            assert slots.slots.borrowed_tokens == 2
            with pytest.raises(Problem):
                slots.require("greedy")
            slots.require("other")
            group.start_soon(upload, "other")
            await anyio.wait_all_tasks_blocked()
            assert slots.slots.available_tokens == 0
            with pytest.raises(Problem):
                slots.require("third")
            gate.set()
        assert sorted(done) == ["greedy"] * 3 + ["other"]
        assert slots.slots.borrowed_tokens == 0
        slots.require("greedy")

    anyio.run(main)


def test_a_single_slot_is_for_anyone():
    async def main():
        slots = UploadSlots(1)
        slots.require("a")
        assert await slots.run("a", lambda: 5) == 5

    anyio.run(main)
