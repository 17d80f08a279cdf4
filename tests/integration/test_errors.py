"""What a caller learns from a refusal, and that nothing is done for one who is late."""

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message
from tests.conftest import OwnServer
from tests.integration.conftest import Stubs, connect, failure_of

from ribolex.server.app import SERVICES
from ribolex.server.engine.embedding import EmbedTask
from ribolex.server.engine.encoding import EncodeTask
from ribolex.v1 import codes_pb2 as codes
from ribolex.v1 import collection_pb2 as cp
from ribolex.v1 import dictionary_pb2 as dp
from ribolex.v1 import encoder_pb2 as ep
from ribolex.v1 import variants_pb2 as vp

OPTIONS = ep.EncodeOptions
CODE = codes.Codes(n_rows=2, n_features=96)


def encode(**options: Any) -> ep.EncodeRequest:
    return ep.EncodeRequest(sequences=["ACGU"], options=OPTIONS(**options))


NINE: Any = 9


def groups(**fields: Any) -> cp.CompareGroupsRequest:
    return cp.CompareGroupsRequest(**{"first": TWO, "second": TWO, **fields})


OTHER = codes.DictionaryRef(name="other")
THREE: Any = codes.POOLING_COUNT
NAN = np.full(32, np.nan, "<f4").tobytes()
create = cp.CreateCollectionRequest
scan = vp.ScanVariantsRequest
TWO = cp.RnaGroup(rnas=[cp.RnaRecord(name=name, sequence="ACGU") for name in "ab"])
ALL, ALL_OF_TWO = vp.Saturation(), vp.Saturation(stop=2)
similar = partial(cp.SearchSimilarRequest, collection="c")

REFUSED: list[tuple[str, Message]] = [
    ("Encoder/Encode", ep.EncodeRequest()),
    ("Encoder/Encode", ep.EncodeRequest(sequences=["A"] * 17)),
    ("Encoder/Encode", encode(k=7)),
    ("Encoder/Encode", encode(levels=[NINE])),
    ("Encoder/Encode", encode(pooling=NINE)),
    ("Encoder/Encode", encode(value_type=NINE)),
    ("Encoder/EncodeStream", ep.EncodeStreamRequest()),
    ("Encoder/Embed", ep.EmbedRequest()),
    ("Encoder/Embed", ep.EmbedRequest(sequences=["A"], layers=[NINE])),
    ("Encoder/Embed", ep.EmbedRequest(sequences=["A"], hook=NINE)),
    ("Encoder/Embed", ep.EmbedRequest(sequences=["A"], level=NINE)),
    ("Encoder/Embed", ep.EmbedRequest(sequences=["A"], pooling=THREE)),
    ("Encoder/ScanVariants", scan()),
    ("Encoder/ScanVariants", scan(sequence="AX", variants=["1A>G"])),
    ("Encoder/ScanVariants", scan(sequence="A")),
    ("Encoder/ScanVariants", scan(sequence="A", variants=["1A>G"], k=7)),
    ("Encoder/ScanVariants", scan(sequence="A", variants=["1A>G"], reach=100_001)),
    ("Encoder/ScanVariants", scan(sequence="A", variants=["x"], max_features=1001)),
    ("Encoder/ScanVariants", scan(sequence="A", variants=["x"], saturation=ALL)),
    ("Encoder/ScanVariants", scan(sequence="A", saturation=ALL_OF_TWO)),
    ("Collection/CreateCollection", create(name="../a")),
    ("Collection/CreateCollection", create(name="a", pooling=NINE)),
    ("Collection/ListCollections", cp.ListCollectionsRequest(page_size=1001)),
    ("Collection/ListCollections", cp.ListCollectionsRequest(page_token="x")),
    ("Collection/UpsertRnas", cp.UpsertRnasRequest()),
    ("Collection/GetRna", cp.GetRnaRequest(name="r", levels=[NINE])),
    ("Collection/SearchSimilar", similar()),
    ("Collection/SearchSimilar", similar(top_k=1001)),
    ("Collection/SearchSimilar", similar(code=CODE)),
    ("Collection/SearchSimilar", similar(sequence="X")),
    ("Collection/CompareGroups", cp.CompareGroupsRequest()),
    ("Collection/CompareGroups", groups(unit=NINE)),
    ("Collection/CompareGroups", groups(max_rnas=10_001)),
    ("Collection/CompareGroups", groups(max_rnas=1)),
    ("Collection/CompareGroups", groups(max_features=100_001)),
    ("Collection/CompareGroups", groups(second=cp.RnaGroup(names=["x"]))),
    ("Dictionary/ListDictionaries", dp.ListDictionariesRequest(page_size=1001)),
    ("Dictionary/ListFeatures", dp.ListFeaturesRequest(page_size=1001)),
    ("Dictionary/ListFeatures", dp.ListFeaturesRequest(page_token="x")),
    ("Dictionary/ListFeatures", dp.ListFeaturesRequest(label="colour:red")),
    ("Dictionary/ListFeatures", dp.ListFeaturesRequest(measure="beauty")),
    ("Dictionary/ListFeatures", dp.ListFeaturesRequest(max_q_value=2)),
    ("Dictionary/ListFeatures", dp.ListFeaturesRequest(min_effect=float("nan"))),
    ("Dictionary/ListFeatures", dp.ListFeaturesRequest(shape="point")),
    ("Dictionary/ListFeatures", dp.ListFeaturesRequest(order=NINE)),
    ("Dictionary/GetFeature", dp.GetFeatureRequest(max_examples=101)),
    ("Dictionary/NearestFeatures", dp.NearestFeaturesRequest()),
    ("Dictionary/NearestFeatures", dp.NearestFeaturesRequest(activation=NAN)),
    ("Dictionary/MapFeatures", dp.MapFeaturesRequest(features=[1] * 97)),
    ("Dictionary/MapFeatures", dp.MapFeaturesRequest(target=OTHER)),
]  # fmt: skip


@pytest.fixture(scope="module")
def collection(running_server: str) -> None:
    stubs = connect(running_server)
    stubs.collections.CreateCollection(cp.CreateCollectionRequest(name="c"))
    stubs.channel.close()


def call(stubs: Stubs, method: str, request: Message) -> None:
    service, name = method.split("/")
    stub = {
        "Encoder": stubs.encoder,
        "Collection": stubs.collections,
        "Dictionary": stubs.dictionaries,
    }[service]
    is_many = name in ("EncodeStream", "UpsertRnas")
    answer = getattr(stub, name)(iter([request]) if is_many else request, timeout=20)
    if name in ("EncodeStream", "Embed", "ScanVariants"):
        list(answer)


def is_path(path: str, descriptor: Any) -> bool:
    """Whether a path such as `options.k` or `rnas[3].name` leads to a field."""
    head, _, rest = path.partition(".")
    name, repeated = re.fullmatch(r"(\w+)(\[\d+\])?", head).groups()  # type: ignore[union-attr]
    field = descriptor.fields_by_name.get(name)
    if field is None:  # a oneof is no field, but has a name
        return name in descriptor.oneofs_by_name and not rest
    if repeated and not field.is_repeated:
        return False
    return not rest or is_path(rest, field.message_type)


@pytest.mark.usefixtures("collection")
@pytest.mark.parametrize(("method", "request_"), REFUSED, ids=lambda one: str(one)[:60])
def test_a_refusal_names_the_field_and_what_was_expected(
    stubs: Stubs, method: str, request_: Message
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(stubs, method, request_)
    failure = failure_of(caught.value)
    assert failure.code.name == "INVALID_ARGUMENT"
    (path,) = failure.fields
    descriptor: Any = request_.DESCRIPTOR
    if isinstance(request_, ep.EncodeStreamRequest):
        descriptor = ep.EncodeRequest.DESCRIPTOR
    assert is_path(path, descriptor), path
    assert failure.message.startswith(path)
    assert "expected" in failure.message or "is not an RNA letter" in failure.message


@pytest.mark.parametrize("service", SERVICES)
def test_bytes_that_are_no_message_are_refused_by_every_method(
    stubs: Stubs, service: str
) -> None:
    pool = ep.DESCRIPTOR.pool
    for method in pool.FindServiceByName(service).methods:
        send: Any = stubs.channel.stream_stream(f"/{service}/{method.name}")
        with pytest.raises(grpc.RpcError) as caught:
            list(send(iter([b"\xff"]), timeout=20))
        failure = failure_of(caught.value)
        assert (failure.code.name, failure.fields) == ("INVALID_ARGUMENT", ["request"])
        assert f"expected a message of {service}/{method.name}" in failure.message


def test_nothing_is_computed_for_who_is_late(
    own_server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each way to the model, queued behind a slow batch until after its deadline."""
    computed: list[str] = []
    for kind in (EncodeTask, EmbedTask):

        def slow(self: Any, lm: Any, laid: Any, tasks: Any, run: Any = kind.run) -> Any:
            computed.extend(task.text for task in tasks)
            time.sleep(1.0)
            return run(self, lm, laid, tasks)

        monkeypatch.setattr(kind, "run", slow)
    with ThreadPoolExecutor(8) as pool, own_server(batch_tokens=1) as address:
        stubs = connect(address)
        make = cp.CreateCollectionRequest(name="c")
        stubs.collections.CreateCollection(make)
        computed.clear()  # the panel's, at the start
        first = pool.submit(stubs.encoder.Encode, ep.EncodeRequest(sequences=["AAA"]))
        while not computed:
            time.sleep(0.01)
        late = ep.EncodeRequest(sequences=["CC"])
        rna = cp.RnaRecord(name="one", sequence="GG")
        upsert = cp.UpsertRnasRequest(collection="c", rnas=[rna])
        search = cp.SearchSimilarRequest(collection="c", sequence="UU")
        ways: list[Callable[[], object]] = [
            lambda: stubs.encoder.Encode(late, timeout=0.3),
            lambda: list(
                stubs.encoder.EncodeStream(
                    iter([ep.EncodeStreamRequest(request=late)]), timeout=0.3
                )
            ),
            lambda: list(
                stubs.encoder.Embed(ep.EmbedRequest(sequences=["AC"]), timeout=0.3)
            ),
            lambda: stubs.collections.UpsertRnas(iter([upsert]), timeout=0.3),
            lambda: stubs.collections.SearchSimilar(search, timeout=0.3),
        ]
        errors: list[Any] = [
            call.exception() for call in [pool.submit(way) for way in ways]
        ]
        found = [one.code().name for one in errors]
        assert found == ["DEADLINE_EXCEEDED"] * len(ways)
        assert first.result().results
        stubs.encoder.Encode(ep.EncodeRequest(sequences=["AAAA"]))
        get = cp.GetCollectionRequest(name="c")
        assert stubs.collections.GetCollection(get).collection.n_rnas == 0
        stubs.channel.close()
    assert computed == ["AAA", "AAAA"]
