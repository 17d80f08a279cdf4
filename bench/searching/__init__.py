"""Finding relatives, by Ribolex and by others: what is asked, who answers, how well.

`cases` reads the tables and draws the questions; `ranking` is one method's answers,
kept in a folder, and `figures` tells how good they are. `programs` runs BLAST, HMMER,
MMseqs2 and parasail; `letters` ranks without a model and `codes` by a model's.
"""

__all__: list[str] = []
