"""Collections of RNAs on disk, and search over their codes.

A collection is a SQLite file, which is the truth (`records`), and what is drawn from
it: pooled codes with sketches (`pooled_index`), which give candidates and exact
scores (`pooled`), and positions (`positions`), searched by alignment (`relatives`).
With a Milvus the codes are there (`milvus_index`), and alignment reads the table
(`stored_relatives`); what a collection asks of either is told in `seams`. How a code
is pooled and weighed for search is told in one place (`measure`). `collection` joins
them; `store` keeps all collections of a data folder, each on a thread of its own.
`atoms` finds features by decoder direction.
"""

__all__: list[str] = []
