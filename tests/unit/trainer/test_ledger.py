"""A stage is done once for the same inputs, and anew for others or when damaged."""

import json
from pathlib import Path

import pytest

from ribolex.errors import CorruptInputError
from ribolex.trainer.ledger import Ledger


class Kitchen:
    """Makes a file with a text, and counts."""

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger(folder)
        self.n_made = 0

    def get(self, text: str, *, break_off: bool = False) -> str:
        def make(path: Path) -> None:
            self.n_made += 1
            assert not path.exists()
            path.write_text(text)
            if break_off:
                raise KeyboardInterrupt

        def load(path: Path) -> str:
            found = path.read_text()
            if not found.startswith("text"):
                raise CorruptInputError(path, "is no text")
            return found

        return self.ledger.once("cook", {"text": text}, "dish", make, load)


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    return Kitchen(tmp_path / "ledger")


def test_same_inputs_are_done_once(kitchen: Kitchen) -> None:
    assert [kitchen.get("text 1") for _ in range(3)] == ["text 1"] * 3
    assert kitchen.n_made == 1
    record = kitchen.ledger.record("cook")
    assert record is not None
    assert record.inputs == {"text": "text 1"}


def test_other_inputs_are_done_anew(kitchen: Kitchen) -> None:
    assert kitchen.get("text 1") == "text 1"
    assert kitchen.get("text 2") == "text 2"
    assert kitchen.get("text 1") == "text 1"
    assert kitchen.n_made == 3


def test_what_broke_off_does_not_count(kitchen: Kitchen) -> None:
    with pytest.raises(KeyboardInterrupt):
        kitchen.get("text 1", break_off=True)
    assert kitchen.ledger.record("cook") is None
    assert kitchen.get("text 1") == "text 1"
    assert kitchen.n_made == 2


def test_old_result_does_not_pass_for_one_that_broke_off(kitchen: Kitchen) -> None:
    kitchen.get("text 1")
    with pytest.raises(KeyboardInterrupt):
        kitchen.get("text 2", break_off=True)
    assert kitchen.get("text 1") == "text 1"
    assert kitchen.n_made == 3


@pytest.mark.parametrize("damage", ["result", "record", "absent"])
def test_what_is_damaged_is_made_anew(kitchen: Kitchen, damage: str) -> None:
    kitchen.get("text 1")
    folder = kitchen.ledger.folder
    if damage == "result":
        (folder / "dish").write_text("spoilt")
    elif damage == "record":
        (folder / "cook.done.json").write_text(json.dumps({"stage": 1}))
    else:
        (folder / "dish").unlink()
    assert kitchen.get("text 1") == "text 1"
    assert kitchen.n_made == 2
