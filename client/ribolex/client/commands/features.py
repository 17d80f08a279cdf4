"""The commands `ribolex feature show | list`."""

from enum import StrEnum
from typing import Annotated

import typer

from ribolex.client import cards, output
from ribolex.client.commands import options
from ribolex.client.commands.local import Place, with_model, with_place
from ribolex.client.commands.searching import console

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


class Order(StrEnum):
    """Of a list of features."""

    ID = "id"
    EFFECT = "effect"
    Q_VALUE = "q_value"
    DENSITY = "density"
    CONFIDENCE = "confidence"


@app.command()
@with_place
def show(
    place: Place,
    feature_id: Annotated[int, typer.Argument(metavar="ID", min=0, help="Its number.")],
    dictionary: options.DictionaryName = None,
    collection: Annotated[
        str | None, typer.Option(help="Take the examples from this collection.")
    ] = None,
    examples: Annotated[
        int, typer.Option(min=0, max=100, help="Most RNAs to show it in.")
    ] = 3,
    as_json: options.AsJson = False,
    timeout: options.Timeout = 60.0,
) -> None:
    """Print a feature's card: what it stands for, and why.

    Evidence: how often the label holds where the feature fires, and elsewhere; their
    ratio with its 95 % interval when clans of RNAs are drawn anew; how well its value
    tells who has the label; the share of a random dictionary's features that it beats;
    the false-discovery rate over all tests of the dictionary.
    """
    with place.among(collection).connect(timeout, collection or "") as client:
        card = client.feature(
            feature_id,
            dictionary=dictionary,
            collection=collection,
            max_examples=examples,
        )
    if as_json:
        typer.echo(output.to_json(card))
    else:
        cards.print_card(console(), card)


@app.command(name="list")
@with_model
def list_(
    place: Place,
    dictionary: options.DictionaryName = None,
    label: Annotated[
        str,
        typer.Option(
            help='Only those that go with it: "structure:hairpin", "family:RF00005"; '
            '"type:" for any type. Kinds: nucleotide, kmer, tract, structure, pair, '
            "loop, pairing, type, family, clan.",
        ),
    ] = "",
    measure: Annotated[
        str,
        typer.Option(
            help="What --min-effect and --order effect are about: enrichment, "
            "precision, recall, auroc, average_precision, mcc or f1_gain."
        ),
    ] = "enrichment",
    min_effect: Annotated[float | None, typer.Option(help="At least so much.")] = None,
    max_q: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="False-discovery rate of at most this."),
    ] = None,
    text: Annotated[str, typer.Option(help="Only those whose label has this.")] = "",
    shape: Annotated[
        str,
        typer.Option(
            help="point, motif, stretch, periodic, scattered, whole, rare or dead."
        ),
    ] = "",
    not_composition: Annotated[
        bool,
        typer.Option(
            "--not-composition", help="Without those that fire in shuffled RNAs, too."
        ),
    ] = False,
    order: Annotated[Order, typer.Option(help="In which order.")] = Order.ID,
    limit: Annotated[int, typer.Option(min=1, help="Most features to print.")] = 50,
    as_json: options.AsJson = False,
    timeout: options.Timeout = 60.0,
) -> None:
    """List features by label, effect, q-value, text or shape."""
    with place.connect(timeout) as client:
        found = client.features(
            dictionary=dictionary,
            label=label,
            measure=measure,
            min_effect=min_effect,
            max_q_value=max_q,
            text=text,
            shape=shape,
            without_composition_only=not_composition,
            order=order.value,
        )
        chosen = [each for each, _ in zip(found, range(limit), strict=False)]
    if as_json:
        for each in chosen:
            typer.echo(output.to_json(each))
    else:
        cards.print_features(console(), chosen)
