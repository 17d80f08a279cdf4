"""Tells what is known of models: sizes, checksums, licences, places.

Facts are plain values in the order in which people read them. Changes nothing.
"""

from typing import Any

from ribolex.lm.configuration import LmConfig
from ribolex.lm.hub import (
    BUNDLED,
    CATALOGUE,
    CREDIT,
    Model,
    Origin,
    advice,
    locate,
    model_folder,
    read_origin,
)
from ribolex.lm.layouts import count_parameters
from ribolex.lm.weights import digest_network, read_name, read_weights
from ribolex.models.pull import check_damage
from ribolex.models.transfer import digest_file

_OWN_LICENCE = "Apache-2.0, as all that comes in the box"


def list_facts() -> list[dict[str, Any]]:
    """Returns what `list` shows of each model that has a name, the bundled one first.

    "here" is whence the weights on this machine came, null where there are none.
    """
    box = read_weights(locate(BUNDLED))
    rows: list[dict[str, Any]] = [
        {
            "model": BUNDLED,
            **_sizes(box.network.config),
            "sources": [],
            "here": "in the box",
            "size_bytes": box.file.stat().st_size,
        }
    ]
    for model in CATALOGUE.values():
        origin = read_origin(model.name)
        rows.append(
            {
                "model": model.name,
                **_sizes(model.config),
                "sources": [source.to_json() for source in model.sources],
                "here": origin.source if origin else None,
                "size_bytes": origin.size_bytes if origin else None,
            }
        )
    return rows


def describe_model(path_or_name: str) -> dict[str, Any]:
    """Returns what is known of one model, after a look at every byte of its weights.

    Raises:
        ModelNotFoundError: the name is not known.
        CorruptArtefactError: what was pulled is damaged.
        CorruptInputError: what lies at the path is no RiNALMo.
    """
    if path_or_name in CATALOGUE:
        return _describe_named(CATALOGUE[path_or_name], read_origin(path_or_name))
    path = locate(path_or_name)
    weights = read_weights(path)
    is_own = path_or_name == BUNDLED
    return {
        "model": read_name(path),
        **_sizes(weights.network.config),
        "layout": weights.layout,
        "weights_digest": digest_network(weights.network),
        "here": str(weights.file.resolve()),
        "size_bytes": weights.file.stat().st_size,
        "sha256": digest_file(weights.file, ["sha256"])["sha256"],
        "licence": _OWN_LICENCE if is_own else "not known to Ribolex",
        "credit": CREDIT,
    }


def _describe_named(model: Model, origin: Origin | None) -> dict[str, Any]:
    facts = {"model": model.name, **_sizes(model.config)}
    if origin is None:
        facts |= {
            "sources": [source.to_json() for source in model.sources],
            "here": f"not yet; {advice(model)}",
        }
    else:
        check_damage(origin)
        told = origin.to_json()
        place = model_folder(model.name) / told.pop("file")
        facts |= {**told, "here": str(place)}
    return {**facts, "credit": CREDIT}


def _sizes(config: LmConfig) -> dict[str, int]:
    return {"n_parameters": count_parameters(config), **config.to_json()}
