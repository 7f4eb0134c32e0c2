"""One code path: the apps that run in process run on a real SuperLink, to the same model."""

from pathlib import Path

from end_to_end.small_world import Trial, model_json, small_job, small_world
from end_to_end.superlink import running_superlink

from fedmkt.transport.bundle import bundle_files


def test_in_process_and_three_supernodes_give_the_same_model(tmp_path: Path) -> None:
    here = small_world(tmp_path / "here")
    job = small_job(here, rounds=2)
    Trial(here).run(job, "run-1")
    here.close()

    there = small_world(tmp_path / "there")
    there.order(job, "run-1")
    nodes = {name.replace("-", "_"): {"home": str(there.node(name))} for name in there.members}
    config = {
        "home": str(there.coordinator),
        "order": str(there.order_file("run-1")),
    }
    with running_superlink(tmp_path / "link", nodes) as link:
        run = link.run(bundle_files(), config, timeout_s=240)
        logs = link.logs()
    assert run.status == "finished:completed", logs
    assert model_json(there, "run-1") == model_json(here, "run-1")
