"""What features mean: labels they go with, evidence for it, and a sentence.

`annotate` looks where features fire on RNAs. Labels of nucleotides (letter, 3-mer,
structure element, pair, loop) and of RNAs (type, family, clan) are in `labels`. Every
feature is ranked against every label (`ranking`), tested against circular shifts of
whole clans or, over RNAs, against such of about the same length (`walk`, `lengths`,
`significance`), redrawn (`redraws`), and held against a random dictionary, shuffled
RNAs (`controls`) and coin flips (`flips`). What passes are its findings (`findings`);
fixed rules say them (`sentences`).
"""

from ribolex.trainer.annotation.annotate import Note, annotate, in_one
from ribolex.trainer.annotation.controls import Controls
from ribolex.trainer.annotation.folding import fold_missing

__all__ = ["Controls", "Note", "annotate", "fold_missing", "in_one"]
