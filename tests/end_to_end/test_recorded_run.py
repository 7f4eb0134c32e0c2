"""A recorded run tells what each exchange sent, and what that takes over a link."""

from pathlib import Path

import pytest

from fedmkt.simulation.partitions.link import Link
from fedmkt.simulation.recorded_run import record_run
from fedmkt.simulation.scenario.loading import scenario_of
from fedmkt.simulation.scenario.vertical_customers import share_customers
from fedmkt.simulation.scenario.vertical_training import Trainer
from fedmkt.simulation.scenario.vertical_world import ALIGNMENT, alignment_for, vertical_world

SEED, RUN = 3, "run"
SMALL = {
    "name": "small",
    "data": {"kind": "generated", "generator": {"rows": 400, "signal": 2, "numbers": 1}},
    "partition": {"kind": "vertical"},
    "vertical": {"shares": {"us": 1, "them": 1}},
    "model": {"rounds": 1, "max_bins": 4},
}


def test_a_recorded_run_sends_what_the_same_run_sends_unrecorded(tmp_path: Path) -> None:
    setting = scenario_of(SMALL, source="test")
    shared, _ = share_customers(setting, SEED)
    trainer = Trainer(setting, shared, SEED)
    job = trainer.job(shared.partners)
    sent = trainer.as_deployed(job, RUN, tmp_path / "plain").outcome
    assert sent is not None
    world = vertical_world(job, shared.parties, seed=SEED, folder=tmp_path / "recorded")
    try:
        record_run(world, alignment_for(job), ALIGNMENT)
        recorded = record_run(world, job, RUN)
    finally:
        world.close()
    assert len(recorded.exchanges) == sent.exchanges
    assert sum(one.down_bytes.sum() for one in recorded.exchanges) == sent.bytes_down
    assert sum(one.up_bytes.sum() for one in recorded.exchanges) == sent.bytes_up
    assert (
        recorded.busiest_mb
        < recorded.sent_mb
        == pytest.approx((sent.bytes_down + sent.bytes_up) / 1e6)
    )
    _clock(recorded.seconds, recorded.busiest_mb, len(recorded.exchanges))


def _clock(seconds, busiest_mb: float, exchanges: int) -> None:
    fast, slow, far = (seconds(Link(*link)) for link in ((1000, 1), (1, 1), (1000, 101)))
    # 8 bits a byte at 1 Mb/s take 1000 times as long as at 1 Gb/s; 100 ms more each way, twice.
    assert slow - fast == pytest.approx(8 * busiest_mb * (1 - 1e-3))
    assert far - fast == pytest.approx(0.2 * exchanges)
