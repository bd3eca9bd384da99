"""Feast's own stub against the server at the address of the first argument; ends with an error where
it is not satisfied."""

import sys

import grpc
from feast.protos.feast.serving import ServingService_pb2 as serving
from feast.protos.feast.serving import ServingService_pb2_grpc as stubs
from feast.protos.feast.types import Value_pb2 as types

channel = grpc.insecure_channel(sys.argv[1])
stub = stubs.ServingServiceStub(channel)


def check(found, wanted):
    if found != wanted:
        raise SystemExit(f"found {found!r}, wanted {wanted!r}")


def values(*values):
    return types.RepeatedValue(val=[types.Value(**value) for value in values])


def refused(request, code, part):
    try:
        stub.GetOnlineFeatures(request)
    except grpc.RpcError as error:
        check(error.code(), code)
        check(part in error.details(), True)
    else:
        raise SystemExit(f"{request} was answered")


check(bool(stub.GetFeastServingInfo(serving.GetFeastServingInfoRequest()).version), True)

drivers = {"driver_id": values({"int64_val": 1001}, {"int64_val": 1002}, {"int64_val": 9})}
names = ["conv_rate", "acc", "trips", "rides", "city", "active", "last_login", "tags", "emb"]
response = stub.GetOnlineFeatures(
    serving.GetOnlineFeaturesRequest(
        features=serving.FeatureList(val=[f"driver_stats:{name}" for name in names]), entities=drivers
    )
)
check(list(response.metadata.feature_names.val), ["driver_id", *names])
columns = dict(zip(response.metadata.feature_names.val, response.results))
check([value.int64_val for value in columns["driver_id"].values], [1001, 1002, 9])
first = {name: column.values[0] for name, column in columns.items()}
check(first["conv_rate"].double_val, 0.5)
check(first["acc"].float_val, 0.25)
check(first["trips"].int32_val, 7)
check(first["rides"].int64_val, 2**40)
check(first["city"].string_val, "Berlin")
check(first["active"].bool_val, True)
check(first["last_login"].unix_timestamp_val, 1_780_000_000)
check(list(first["tags"].string_list_val.val), ["a", "b"])
check(list(first["emb"].float_list_val.val), [0.5, 1.5])
city = columns["city"]
status = serving.FieldStatus.Value
check(list(city.statuses), [status("PRESENT"), status("NULL_VALUE"), status("NOT_FOUND")])
check([value.WhichOneof("val") for value in city.values], ["string_val", None, None])
check(city.event_timestamps[0].seconds, 1_780_000_000)
check(city.event_timestamps[2].seconds, 0)

response = stub.GetOnlineFeatures(
    serving.GetOnlineFeaturesRequest(
        feature_service="ride",
        entities={"driver_id": values({"string_val": "1001"}), "customer_id": values({"string_val": "c"})},
        full_feature_names=True,
        include_feature_view_version_metadata=True,
    )
)
check(
    list(response.metadata.feature_names.val),
    ["customer_id", "driver_id", "driver_stats__conv_rate", "driver_stats__trips", "pair_stats__orders"],
)
check([view.name for view in response.metadata.feature_view_metadata], ["driver_stats", "pair_stats"])
check(response.results[4].statuses[0], status("NOT_FOUND"))

code = grpc.StatusCode
unknown = serving.FeatureList(val=["nobody:x"])
refused(serving.GetOnlineFeaturesRequest(features=unknown, entities=drivers), code.NOT_FOUND, "nobody")
refused(serving.GetOnlineFeaturesRequest(feature_service="ride"), code.INVALID_ARGUMENT, "No entity rows")
print("satisfied")
