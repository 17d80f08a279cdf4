"""The trainer: from RNAs to a published dictionary.

Activations of a language model are cached on disk (`activations`) and read in random
order (`rows`), or come straight from the model (`streaming`). A sparse autoencoder is
fitted to them (`objectives`, `fit`), measured on RNAs that it never saw (`evaluation`),
its features are described (`annotation`), and what passes every gate is published
(`publish`). `pretraining` makes the language model itself.
"""

__all__: list[str] = []
