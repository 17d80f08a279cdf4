"""The contract: messages and services of `ribolex.v1`, generated from the .proto files.

A `*_pb2` module holds the messages and enums of one file, a `*_pb2_grpc` module the
client stub and the servicer base of its service. What fields mean is written in the
.proto files, and in the .pyi files drawn from them. Nothing here knows how codes
are computed, and nothing but this file is written by hand: see `make proto`.
"""

from ribolex.v1 import (
    codes_pb2,
    collection_pb2,
    collection_pb2_grpc,
    dictionary_pb2,
    dictionary_pb2_grpc,
    encoder_pb2,
    encoder_pb2_grpc,
    steering_pb2,
    variants_pb2,
)

__all__ = [
    "codes_pb2",
    "collection_pb2",
    "collection_pb2_grpc",
    "dictionary_pb2",
    "dictionary_pb2_grpc",
    "encoder_pb2",
    "encoder_pb2_grpc",
    "steering_pb2",
    "variants_pb2",
]
