"""What processes of a deployment use: processor time and memory, by name."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psutil

LOOK_S = 0.5
PARTS = ("superlink", "guard", "executor")


@dataclass
class Use:
    """Processor seconds and largest resident MB of each part. What ended since its last look is
    missed by at most `LOOK_S`."""

    before: dict[int, float] = field(default_factory=dict)
    after: dict[int, tuple[str, float]] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)

    def processor_s(self, part: str) -> float:
        """Return the processor seconds a part used."""
        return sum(
            s - self.before.get(pid, 0.0) for pid, (name, s) in self.after.items() if name == part
        )

    def peak_mb(self, part: str) -> float:
        """Return a part's largest resident memory."""
        return self.peaks.get(part, 0.0)


class Watch:
    """Looks at the processes that a supervisor keeps. pids: of each command's wrapper, by name."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._wrappers = {name: psutil.Process(pid) for name, pid in pids.items()}

    def _processes(self) -> Iterator[tuple[str, psutil.Process]]:
        """Yield what runs now and the part it belongs to, without the wrappers."""
        for name, wrapper in self._wrappers.items():
            with suppress(psutil.Error):
                for command in wrapper.children():
                    yield (name if name in PARTS else "nodes"), command
                    for below in command.children(recursive=True):
                        # What the executor starts is the coordinator's app.
                        part = "app" if name == "executor" else name if name in PARTS else "nodes"
                        yield part, below

    def nodes(self, members: Sequence[str]) -> list[psutil.Process]:
        """Return the nodes' processes."""
        found = [one for part, one in self._processes() if part == "nodes"]
        # With forked nodes, the first is their parent.
        return found[len(found) - len(members) :]

    @contextmanager
    def using(self) -> Iterator[Use]:
        """Give what is used while the context lasts."""
        use, over = Use(), threading.Event()
        self._look(use)
        use.before = {pid: s for pid, (_, s) in use.after.items()}

        def look() -> None:
            while not over.wait(LOOK_S):
                self._look(use)

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield use
        finally:
            over.set()
            thread.join()
            self._look(use)

    def _look(self, use: Use) -> None:
        resident: dict[str, float] = {}
        for part, process in self._processes():
            with suppress(psutil.Error), process.oneshot():
                times = process.cpu_times()
                use.after[process.pid] = (part, times.user + times.system)
                resident[part] = resident.get(part, 0.0) + process.memory_info().rss / 1e6
        for part, mb in resident.items():
            use.peaks[part] = max(use.peaks.get(part, 0.0), mb)


def memory_mb(processes: Sequence[psutil.Process]) -> tuple[float, float, float]:
    """Return the mean share, mean own and largest resident memory of processes, in MB."""
    found = [one.memory_full_info() for one in processes]
    pss = sum(getattr(one, "pss", one.rss) for one in found) / len(found)
    own = sum(one.uss for one in found) / len(found)
    return pss / 1e6, own / 1e6, max(one.rss for one in found) / 1e6
