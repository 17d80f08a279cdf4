"""The light client: codes of RNAs and similar RNAs, from a server that has the model.

    from ribolex.client import Client

    with Client("127.0.0.1:50051") as client:
        encoded = client.encode(["GGGCCCAUAGCUCAGUGGUAGAG", "GGAAACC"])
        encoded.sequence_codes.toscipy()  # [2, n_features]

        for hit in client.search("rfam", sequence="GGGCCCAUAGCUCAGUGGUAGAG"):
            print(hit.score, hit.rna.name, hit.shared_features[0].label)

`AsyncClient` has the same methods for an event loop.

A code is a sparse vector of features, for each nucleotide or pooled over a sequence;
its feature ids mean something only together with the dictionary that gave them. RNAs
that are to be searched live in a collection on the server.
"""

from ribolex.client.async_client import AsyncClient
from ribolex.client.client import Client
from ribolex.client.codes import CodeRow, SparseCodes
from ribolex.client.credentials import Credentials
from ribolex.client.embeddings import EmbeddingsWriter
from ribolex.client.errors import (
    AlreadyExistsError,
    CancelledError,
    CollectionExistsError,
    CollectionNotFoundError,
    CorruptArtefactError,
    CorruptInputError,
    DictionaryExistsError,
    DictionaryInUseError,
    DictionaryNotFoundError,
    FeatureNotFoundError,
    FieldViolation,
    IncompatibleDictionaryError,
    InvalidRequestError,
    InvalidSequenceError,
    NotAuthenticatedError,
    NotFoundError,
    NotPermittedError,
    NotReadyError,
    OverloadedError,
    RejectedError,
    RibolexError,
    RnaNotFoundError,
    SequenceTooLongError,
    ServerError,
    StaleWriteError,
    TimedOutError,
)
from ribolex.client.fasta import FastaRecord, read_fasta
from ribolex.client.groups import (
    FeatureContrast,
    Group,
    GroupComparison,
    GroupFacts,
)
from ribolex.client.hits import (
    Aligned,
    Alignment,
    Between,
    Hit,
    Hits,
    NoneOf,
    SharedFeature,
    Step,
)
from ribolex.client.mapping import MappedFeature, MappedFeatures
from ribolex.client.matches import FeatureMatch, FeatureMatches, Stretch
from ribolex.client.nearest import (
    FiringFeature,
    NearestFeatures,
    SearchedDictionary,
)
from ribolex.client.npz import CodesWriter
from ribolex.client.records import (
    Collection,
    CollectionDetails,
    Dictionary,
    DictionaryChange,
    DictionaryRef,
    Embedded,
    Encoded,
    Evidence,
    Feature,
    FeatureAncestor,
    FeatureCard,
    FeatureExample,
    FeatureProfile,
    ListedFeature,
    Logo,
    MetadataKey,
    Moved,
    NearestFeature,
    ReindexProgress,
    Rejection,
    Rna,
    Snapshot,
    StoredRna,
    Suggestion,
    Timing,
    UpsertReport,
)
from ribolex.client.steering import Intervention, Steered, SteeredFeature
from ribolex.client.variants import FeatureChange, VariantEffect, VariantScan

__all__ = [
    "Aligned",
    "Alignment",
    "Between",
    "NoneOf",
    "Step",
    "AlreadyExistsError",
    "AsyncClient",
    "CancelledError",
    "Client",
    "CodeRow",
    "CodesWriter",
    "Collection",
    "CollectionDetails",
    "CollectionExistsError",
    "CollectionNotFoundError",
    "CorruptArtefactError",
    "CorruptInputError",
    "Credentials",
    "Dictionary",
    "DictionaryChange",
    "DictionaryExistsError",
    "DictionaryInUseError",
    "DictionaryNotFoundError",
    "DictionaryRef",
    "Embedded",
    "EmbeddingsWriter",
    "Encoded",
    "Evidence",
    "FastaRecord",
    "Feature",
    "FeatureAncestor",
    "FeatureCard",
    "FeatureChange",
    "FeatureContrast",
    "FeatureExample",
    "FeatureMatch",
    "FeatureMatches",
    "FeatureNotFoundError",
    "FeatureProfile",
    "FieldViolation",
    "Group",
    "GroupComparison",
    "GroupFacts",
    "FiringFeature",
    "Hit",
    "Hits",
    "IncompatibleDictionaryError",
    "Intervention",
    "InvalidRequestError",
    "InvalidSequenceError",
    "ListedFeature",
    "Logo",
    "MappedFeature",
    "MappedFeatures",
    "MetadataKey",
    "Moved",
    "NearestFeature",
    "NearestFeatures",
    "NotAuthenticatedError",
    "NotFoundError",
    "NotPermittedError",
    "NotReadyError",
    "OverloadedError",
    "RejectedError",
    "Rejection",
    "RibolexError",
    "ReindexProgress",
    "Rna",
    "Snapshot",
    "RnaNotFoundError",
    "SearchedDictionary",
    "SequenceTooLongError",
    "ServerError",
    "SharedFeature",
    "SparseCodes",
    "StaleWriteError",
    "Steered",
    "SteeredFeature",
    "StoredRna",
    "Stretch",
    "Suggestion",
    "TimedOutError",
    "Timing",
    "UpsertReport",
    "VariantEffect",
    "VariantScan",
    "read_fasta",
]
