"""The house: one namespace, honest public names, a client that stays light."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE_FOLDERS = sorted(
    ROOT / root / "ribolex" for root in ("proto", "core", "server", "client", "trainer")
)
PACKAGES = sorted(
    ".".join(init.parent.relative_to(folder.parent).parts)
    for folder in NAMESPACE_FOLDERS
    for init in folder.rglob("__init__.py")
)
HEAVY = (
    "torch",
    "faiss",
    "pyarrow",
    "scipy",
    "safetensors",
    "jaxtyping",
    "pydantic",
    "ribolex_bundle",
    "ribolex.disk",
    "ribolex.errors",
    "ribolex.rna",
    "ribolex.lm",
    "ribolex.models",
    "ribolex.dictionary",
    "ribolex.registry",
    "ribolex.server",
    "ribolex.trainer",
)


def test_namespace_folders_have_no_init() -> None:
    """With one, the folder would hide its four sisters."""
    assert [f for f in NAMESPACE_FOLDERS if (f / "__init__.py").exists()] == []


@pytest.mark.parametrize("name", [*PACKAGES, "ribolex_bundle"])
def test_package_says_what_it_is_and_offers(name: str) -> None:
    package = importlib.import_module(name)
    public = package.__all__
    assert package.__doc__
    assert len(public) == len(set(public))
    assert [member for member in public if not hasattr(package, member)] == []


@pytest.mark.parametrize("name", ["ribolex.client", "ribolex.client.cli"])
def test_client_imports_nothing_heavy(name: str) -> None:
    loaded = _modules_after(f"import {name}")
    assert sorted(loaded & set(HEAVY)) == []


@pytest.mark.parametrize("name", ["ribolex.disk", "ribolex.errors"])
def test_what_all_stand_on_imports_nothing_of_ours(name: str) -> None:
    loaded = _modules_after(f"import {name}")
    ours = {module for module in loaded if module.startswith("ribolex.")}
    assert ours == {name}


def test_commands_of_other_packages_register_lightly() -> None:
    """`ribolex --help` loads every register function, but no model library."""
    loaded = _modules_after(
        "from importlib.metadata import entry_points\n"
        "for entry in entry_points(group='ribolex.commands'): entry.load()"
    )
    assert sorted(loaded & {"torch", "faiss", "pyarrow", "scipy"}) == []


def _modules_after(statement: str) -> set[str]:
    """Gives the modules that a fresh interpreter has after the statement."""
    code = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())
