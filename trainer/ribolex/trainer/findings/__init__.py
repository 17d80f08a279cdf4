"""What the papers on sparse autoencoders of language models report, as commands.

An *arm* is anything whose features can be held against labels: a dictionary, the
model's own neurons, a dictionary of random directions, one of an untrained model, the
dictionary on shuffled RNAs, coin flips (`arms`). All go through the same counts and
tests (`annotation`); `tables` has one row for whatever was found, `plot` draws it. What
goes best with each label is chosen on some families and scored on others (`best`).
`terms` asks of whole RNAs which terms of an ontology their features go with.
"""

from ribolex.trainer.findings.look import Look, look
from ribolex.trainer.findings.tables import Tables

__all__ = ["Look", "Tables", "look"]
