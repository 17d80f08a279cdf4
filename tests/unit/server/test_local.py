"""Codes without a server: the same path, a row for every sequence."""

from pathlib import Path

import numpy as np
import pytest

from ribolex.dictionary import Dictionary
from ribolex.errors import (
    DictionaryNotFoundError,
    IncompatibleDictionaryError,
    InvalidRequestError,
)
from ribolex.lm import LanguageModel
from ribolex.server.engine.encoding import EncodeTask, Recipe
from ribolex.server.engine.task import compute
from ribolex.server.local import LocalEmbedder, LocalEncoder
from ribolex_bundle import DEFAULT_DICTIONARY, dictionaries_path


@pytest.fixture
def encoder(tiny_model: Path, tiny_registry: Path) -> LocalEncoder:
    return LocalEncoder(str(tiny_model), registry=str(tiny_registry))


def test_the_first_dictionary_that_fits_is_taken(encoder: LocalEncoder) -> None:
    """ "other" comes first by name, but is for another model."""
    assert (encoder.dictionary_name, encoder.dictionary_version) == ("tiny", 1)


@pytest.mark.parametrize("registry", [None, str(dictionaries_path())])
def test_the_box_says_which_of_its_dictionaries_is_the_default(
    registry: str | None,
) -> None:
    """ "ribolex-mini-l2" comes first by name and fits as well."""
    assert LocalEncoder(registry=registry).dictionary_name == DEFAULT_DICTIONARY


def test_codes_are_those_of_the_engine(
    encoder: LocalEncoder, lm: LanguageModel, dictionary: Dictionary
) -> None:
    sequences = ["acgt", "not RNA", "GGGAAACCC", "A" * 100_001, "C"]
    result = encoder.encode(sequences, per_nucleotide=True, pooling="mean", k=3)
    assert result.n_nucleotides.tolist() == [4, 0, 9, 0, 1]
    assert np.isnan(result.fvu).tolist() == [False, True, False, True, False]
    assert [(one.index, one.reason) for one in result.rejections] == [
        (1, "invalid_sequence"),
        (3, "sequence_too_long"),
    ]
    assert result.nucleotide_codes is not None
    recipe = Recipe(3, "mean")
    texts = ("ACGU", "GGGAAACCC", "C")
    expected = compute(lm, [EncodeTask(t, dictionary, recipe) for t in texts])
    for encoding, row, start in zip(expected, (0, 2, 4), (0, 4, 13), strict=True):
        assert encoding.pooled is not None
        pooled = result.sequence_codes.row(row)
        assert pooled.indices.tolist() == encoding.pooled.indices.tolist()
        assert pooled.values == pytest.approx(encoding.pooled.values, abs=1e-5)
        part = result.nucleotide_codes.slice(start, start + len(encoding.codes))
        assert part.indices.tolist() == encoding.codes.indices.tolist()
        assert result.fvu[row] == pytest.approx(encoding.fvu, rel=1e-4)
    assert len(result.sequence_codes.row(1).indices) == 0


def test_no_sequence_gives_no_row(encoder: LocalEncoder) -> None:
    result = encoder.encode([])
    assert len(result.sequence_codes) == 0
    assert result.nucleotide_codes is None


def test_what_cannot_be_is_refused(
    encoder: LocalEncoder, tiny_model: Path, tiny_registry: Path
) -> None:
    with pytest.raises(InvalidRequestError, match="k: 7 is not in 0 to 6"):
        encoder.encode(["ACGU"], k=7)
    with pytest.raises(IncompatibleDictionaryError, match="lm_digest"):
        LocalEncoder(str(tiny_model), "other", registry=str(tiny_registry))
    with pytest.raises(DictionaryNotFoundError):
        LocalEncoder(str(tiny_model), "nobody", registry=str(tiny_registry))
    with pytest.raises(DictionaryNotFoundError, match="train one with `ribolex train"):
        LocalEncoder(str(tiny_model))  # those in the box are for the model in the box


def test_activations_are_those_of_the_model(
    tiny_model: Path, lm: LanguageModel
) -> None:
    embedder = LocalEmbedder(str(tiny_model))
    assert (embedder.model_name, embedder.model_digest) == (lm.name, lm.digest)
    sequences = ["ac-gt", "not RNA", "GGGAAACCC"]
    found = embedder.embed(sequences, layers=[2, 1], hook="raw", degap=True)
    assert found.n_nucleotides.tolist() == [4, 0, 9]
    assert [one.index for one in found.rejections] == [1]
    for start, sequence in ((0, "ACGU"), (4, "GGGAAACCC")):
        (states,) = lm.activations([sequence], [1, 2], "raw")
        for column, layer in enumerate(found.layers):
            rows = found.rows[start : start + len(sequence), column]
            np.testing.assert_allclose(rows, states[layer], atol=1e-4, rtol=1e-5)
    pooled = embedder.embed(["GGGAAACCC"], pooling="mean", half=True)
    assert pooled.rows.shape == (1, 1, 32)
    assert pooled.rows.dtype == np.float16
    with pytest.raises(InvalidRequestError, match="layers: 3, expected 1 to 2"):
        embedder.embed(["ACGU"], layers=[3])
