"""What the kernel tells of interfaces: each kind of change, at once, and a burst of them together."""

import asyncio
import time
from threading import Event, Thread
from typing import TYPE_CHECKING, Self

import pytest

from droplan_daemon.clock import SystemClock
from droplan_daemon.sources.link_events import PAUSE, link_changes
from tests.kernel.ground import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Namespace

pytestmark = pytest.mark.kernel


class Links:
    """When changes of interfaces were told, while the context lasts."""

    def __init__(self, namespace: "Namespace") -> None:
        self.times: list[float] = []
        self._namespace = namespace
        self._begun = Event()

    def __enter__(self) -> Self:
        self._namespace.call(self._start)
        assert self._begun.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(10)

    def _start(self) -> None:
        self._thread = Thread(target=lambda: asyncio.run(self._listen()), daemon=True)
        self._thread.start()

    async def _listen(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.create_task(self._collect())
        await asyncio.sleep(0)
        self._loop.call_soon(self._begun.set)
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.result()

    async def _collect(self) -> None:
        async for _ in link_changes(SystemClock()):
            self.times.append(time.monotonic())


@pytest.fixture
def links(namespace: "Namespace") -> "Iterator[Links]":
    with Links(namespace) as made:
        yield made


def test_each_kind_of_change_is_told(namespace: "Namespace", links: Links) -> None:
    """An interface that comes, gets an address, goes up or down, is renamed, loses its address, or goes."""
    changes = (
        "link add one type veth peer name two",
        "address add 192.0.2.1/24 dev one",
        "link set one up",
        "link set one down",
        "link set one name three",
        "address del 192.0.2.1/24 dev three",
        "address add 2001:db8::1/64 dev three nodad",
        "link del three",
    )
    for change in changes:
        time.sleep(2 * PAUSE)  # what was told before is over; longer is no harm
        before = len(links.times)
        namespace.run("ip", *change.split())
        assert until(lambda count=before: len(links.times) > count, 10), change  # type: ignore[misc]


def test_a_burst_is_told_a_few_times(namespace: "Namespace", links: Links) -> None:
    """A host that starts a hundred containers reads its interfaces ten times a second, not a thousand."""
    begun = time.monotonic()
    script = "".join(f"link add v{n} type veth peer name w{n}\nlink set v{n} up\n" for n in range(50))
    namespace.run("ip", "-batch", "-", text=script)
    assert until(lambda: bool(links.times), 10)
    time.sleep(3 * PAUSE)
    took = time.monotonic() - begun
    assert len(links.times) <= took / PAUSE + 2
    assert all(
        later - earlier >= PAUSE * 0.9 for earlier, later in zip(links.times, links.times[1:], strict=False)
    )
