"""A run does each thing once, whatever broke it off; changes redo what they touch."""

from pathlib import Path

import numpy as np
import pytest
from tests.unit.trainer.process.conftest import Crash, MakeWorld, World

from ribolex.dictionary import load_dictionary
from ribolex.errors import InvalidRequestError
from ribolex.trainer.process import exit_code
from ribolex.trainer.process.reporting import Reporter
from ribolex.trainer.process.run import Trainer, alone_in
from ribolex.trainer.process.status import read_status
from ribolex.trainer.stopping import Stop, Stopped

OWN = ("fit", "control", "evaluate", "annotate", "align")


def test_every_layer_is_published_and_done_once(world: World) -> None:
    results = world.trainer().run()
    assert world.log.kinds() == ["run", "published", "published", "end"]
    # One pass of the model for both layers.
    shared = [("corpus", ""), ("validation", ""), ("activations", "")]
    own = [(stage, name) for name in ("one-l1", "one-l2") for stage in OWN]
    assert world.log.stages() == [*shared, *own]
    assert exit_code(results) == 0
    assert [entry.is_current for entry in world.registry.list()] == [True, True]
    # Collections of it can be searched for relatives from the start.
    assert world.registry.get("one-l1").alignment is not None
    results = world.trainer().run()
    assert world.log.kinds() == ["run", "unchanged", "unchanged", "end"]
    assert world.log.stages() == []
    assert exit_code(results) == 0
    status = read_status(world.fields["workdir"])
    assert [each.outcome for each in status.dictionaries] == ["one-l1@1", "one-l2@1"]


def test_a_device_that_is_not_here_is_told_before_any_work(world: World) -> None:
    with pytest.raises(InvalidRequestError, match="'cuda:99' is not here"):
        Trainer(world.trainer().config, "cuda:99", Reporter([]), Stop())


def test_a_change_redoes_what_depends_on_it(world: World) -> None:
    world.fields["dictionary"][0]["layers"] = [1]
    world.trainer().run()

    def redone() -> list[str]:
        world.trainer().run()
        return [stage for stage, _ in world.log.stages()]

    world.fields["gates"]["fvu"] = 1e-9
    assert redone() == ["validation", "activations"]  # found on disk, nothing computed
    assert world.log.kinds() == ["run", "gate_failed", "end"]
    world.fields["gates"]["fvu"] = 2.0
    world.fields["evaluation"]["loss_nucleotides"] = 300
    assert redone() == ["validation", "activations", "evaluate"]
    world.fields["dictionary"][0]["k"] = 3
    assert redone() == ["validation", "activations", *OWN]
    assert world.log.kinds() == ["run", "published", "end"]
    world.fields["dictionary"][0]["name"] = "two"
    world.fields["dictionary"][0]["seed"] = 1
    assert redone() == ["validation", "activations", *OWN]
    world.fields["registry"] = str(world.root / "other")
    assert redone() == ["validation", "activations"]
    assert list(world.content_ids()) == ["two@1"]


def test_a_failed_gate_is_told_and_the_candidate_stays(world: World) -> None:
    world.fields["gates"]["fvu"] = 1e-9
    results = world.trainer().run()
    assert exit_code(results) == 3
    told = [each.fields for each in world.log.events if each.kind == "gate_failed"]
    assert [fields["dictionary"] for fields in told] == ["one-l1", "one-l2"]
    assert told[0]["gate"] == "fvu"
    assert float(str(told[0]["got"])) > 1e-9
    assert told[0]["limit"] == 1e-9
    candidate = load_dictionary(Path(str(told[0]["candidate"])))
    assert candidate.features.density.max() > 0
    assert world.registry.list() == []
    world.trainer().run()
    assert world.log.stages() == []
    assert world.log.kinds() == ["run", "gate_failed", "gate_failed", "end"]
    outcomes = [
        each.outcome for each in read_status(world.fields["workdir"]).dictionaries
    ]
    assert outcomes == ["failed: fvu"] * 2


def test_broken_off_anywhere_it_comes_to_the_same_bytes(make_world: MakeWorld) -> None:
    whole, broken = make_world("whole"), make_world("broken")
    whole.trainer().run()
    n_events = len(whole.log.events)
    generator = np.random.default_rng(0)
    n_crashes = 0
    for crash_at in generator.integers(1, n_events // 2, 10).tolist():
        trainer = broken.trainer()
        broken.log.crash_at = crash_at
        try:
            trainer.run()
            break
        except Crash:
            n_crashes += 1
    assert n_crashes >= 4
    broken.trainer().run()
    assert broken.content_ids() == whole.content_ids()


def test_what_fails_keeps_nothing_else_from_being_made(world: World) -> None:
    world.fields["dictionary"].append({"name": "greedy", "batch_rows": 10**6, "k": 2})
    results = world.trainer().run()
    assert exit_code(results) == 1
    assert world.log.kinds() == ["run", "published", "published", "failed", "end"]
    (failed,) = [each for each in world.log.events if each.kind == "failed"]
    assert failed.dictionary == "greedy"
    assert "expected 1000000 or more" in str(failed.fields["error"])


def test_damage_in_the_work_folder_is_mended(world: World) -> None:
    world.trainer().run()
    before = world.content_ids()
    folder = world.fields["workdir"] / "dictionaries" / "one-l1"
    weights = folder / "exported" / "sae_weights.safetensors"
    spoiled = bytearray(weights.read_bytes())
    spoiled[-1] ^= 1
    weights.write_bytes(spoiled)
    for record in ("publish", "candidate", "gates", "annotate"):
        (folder / f"{record}.done.json").unlink()
    (folder / "evaluation.json").write_text("{")
    world.trainer().run()
    assert world.log.kinds() == ["run", "unchanged", "unchanged", "end"]
    assert world.content_ids() == before


def test_a_killed_publisher_makes_current_what_it_published(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fields["dictionary"][0]["layers"] = [1]
    trainer = world.trainer()

    def die(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(trainer.registry, "set_current", die)
        with pytest.raises(Crash):
            trainer.run()
    assert world.registry.current("one-l1") is None
    world.trainer().run()
    assert world.log.stages() == [("validation", ""), ("activations", "")]
    assert world.registry.current("one-l1") == 1
    assert list(world.content_ids()) == ["one-l1@1"]


def test_a_stopped_fit_keeps_its_last_step(world: World) -> None:
    world.fields["dictionary"][0].update(layers=[1], checkpoint_steps=1000)
    trainer = world.trainer()
    take = world.log.take

    def ask(event: object) -> None:
        take(event)  # type: ignore[arg-type]
        if world.log.events[-1].fields.get("done") == 21:
            world.stop.ask()

    world.log.take = ask  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        trainer.run()
    world.stop.is_asked = False
    world.trainer().run()
    first = [
        event.fields["done"]
        for event in world.log.events
        if event.stage == "fit" and "fvu" in event.fields
    ]
    assert first == [30]  # 21 steps were kept; the next to be told is the last
    assert "published" in world.log.kinds()


def test_two_trainers_do_not_share_a_work_folder(world: World) -> None:
    with (
        alone_in(world.fields["workdir"]),
        pytest.raises(InvalidRequestError, match="another trainer"),
        alone_in(world.fields["workdir"]),
    ):
        pass
    with alone_in(world.fields["workdir"]):
        assert read_status(world.fields["workdir"]).is_at_work


def test_activations_of_rnas_not_trained_on_any_more_go(world: World) -> None:
    world.fields["dictionary"][0]["layers"] = [1]
    world.trainer().run()
    world.fields["activations"] = {"nucleotides": 1000}
    world.trainer().run()
    assert len(list((world.fields["workdir"] / "activations").iterdir())) == 1


def test_wrong_layers_and_inputs_are_named(world: World) -> None:
    world.fields["dictionary"][0]["layers"] = [3]
    with pytest.raises(InvalidRequestError, match="one-l3: 3, expected 1 to 2"):
        world.trainer().run()
    world.fields["corpus"] = {"inputs": [str(world.root / "none" / "*.fa")]}
    with pytest.raises(InvalidRequestError, match="no such file"):
        world.trainer().run()
