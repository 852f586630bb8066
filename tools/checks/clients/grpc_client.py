"""Triton's own Python client over gRPC against a running server: each call in a row of a table.

It needs tritonclient[grpc] and numpy, and with grpcio-tools compares the messages, too. Alone, with a server of `gradcam serve -m lite=... --grpc-port 8081`:

    python tools/checks/clients/grpc_client.py --grpc localhost:8081 --model lite

With --http, answers are compared with those over HTTP, which needs tritonclient[http]. Exit code 1: a call did not do what it
should.
"""

import argparse
import queue
import re
import tempfile
import threading
from importlib.util import find_spec
from pathlib import Path

import grpc
import numpy
import tritonclient.grpc as triton
from google.protobuf import descriptor_pb2
from tritonclient.grpc import model_config_pb2, service_pb2
from table import CATS, attempt, call, calls, close, finish, same
from tritonclient.utils import InferenceServerException

ROOT = Path(__file__).parents[3]

options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument("--grpc", required=True, metavar="HOST:PORT", help="the server's port of gRPC")
options.add_argument("--http", metavar="HOST:PORT", help="its port of HTTP")
options.add_argument("--model", required=True, help="a classifier of ImageNet with its sidecar, 224 x 224 pixels")
arguments = options.parse_args()

client = triton.InferenceServerClient(arguments.grpc)
model = arguments.model
image = numpy.random.default_rng(1).standard_normal((1, 3, 224, 224)).astype(numpy.float32)
photo = numpy.array([(ROOT / "examples" / "photos" / "chelsea.png").read_bytes()], dtype=numpy.object_)


def given(values, datatype="FP32", name="input"):
    tensor = triton.InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values)
    return tensor


def wanted(*names):
    return [triton.InferRequestedOutput(name) for name in names]


def refused(status, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except InferenceServerException as error:
        assert error.status() == f"StatusCode.{status}", f"{error.status()} instead of {status}: {error.message()}"
        assert error.message().strip()
        return error.message()
    raise AssertionError(f"it was not refused with {status}")


@call("the messages have Triton's numbers and types", find_spec("grpc_tools"))
def _():
    """Every field of our open_inference.proto that Triton has is the same there."""
    from grpc_tools import protoc

    folder = ROOT / "lib" / "server" / "grpc"
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary) / "descriptor"
        assert protoc.main(["", f"-I{folder}", f"--descriptor_set_out={target}", "open_inference.proto"]) == 0
        ours = descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes()).file[0]
    # KServe's answers to loading and unloading have fields, Triton's none.
    kserves = {"model_name", "isLoaded", "isUnloaded"}

    def messages(nodes, prefix=""):
        for node in nodes:
            yield prefix + node.name, node
            yield from messages(node.nested_type, f"{prefix}{node.name}.")

    theirs = {}
    for module in (service_pb2, model_config_pb2):
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        theirs.update(messages(file.message_type))
    compared = 0
    for name, message in messages(ours.message_type):
        fields = {field.name: field for field in theirs[name].field}
        for field in message.field:
            if field.name in kserves and field.name not in fields:
                continue
            other = fields[field.name]
            for key in ("number", "type", "type_name", "label"):
                assert getattr(field, key) == getattr(other, key), f"{name}.{field.name}: {key}"
            compared += 1
    assert compared > 100, compared


@call("is_server_live, is_server_ready, is_model_ready")
def _():
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready(model)
    refused("NOT_FOUND", client.is_model_ready, model, "77")
    refused("NOT_FOUND", client.is_model_ready, "none")


@call("get_server_metadata, get_model_metadata")
def _():
    metadata = client.get_server_metadata(as_json=True)
    assert metadata["name"] == "node-gradcam" and "model_repository" in metadata["extensions"], metadata
    metadata = client.get_model_metadata(model, as_json=True)
    expected = {"name": "input", "datatype": "FP32", "shape": ["-1", "3", "224", "224"]}
    assert metadata["inputs"] == [expected], metadata
    assert metadata["outputs"][0] == {"name": "output", "datatype": "FP32", "shape": ["-1", "1000"]}, metadata


@call("get_model_config")
def _():
    config = client.get_model_config(model).config
    assert config.name == model and config.max_batch_size >= 1
    assert list(config.input[0].dims) == [3, 224, 224] and config.input[0].data_type == model_config_pb2.TYPE_FP32
    assert config.input[0].format == model_config_pb2.ModelInput.FORMAT_NCHW
    assert list(config.output[0].dims) == [1000] and config.WhichOneof("scheduling_choice") == "dynamic_batching"


@call("infer: numpy in, numpy out, with an id and a version")
def _():
    version = client.get_model_metadata(model).versions[0]
    result = client.infer(model, [given(image)], model_version=version, request_id="a-7")
    assert result.as_numpy("output").shape == (1, 1000) and result.as_numpy("output").dtype == numpy.float32
    assert result.get_response().id == "a-7" and result.get_response().model_version == version


@call("infer: a picture as BYTES, and what of an explain was asked for")
def _():
    assert int(client.infer(model, [given(photo, "BYTES")]).as_numpy("output").argmax()) in CATS
    result = client.infer(
        model,
        [given(photo, "BYTES")],
        outputs=wanted("heatmap", "scores", "classes"),
        parameters={"method": "gradcam++", "class": "tabby"},
    )
    heatmap = result.as_numpy("heatmap")
    assert heatmap.shape == (1, 224, 224) and heatmap.min() >= 0 and heatmap.max() <= 1 and heatmap.max() > 0.5
    assert result.as_numpy("classes").tolist() == [281] and result.as_numpy("scores").shape == (1,)
    assert result.as_numpy("output") is None
    assert result.get_response().parameters["method"].string_param == "gradcam++"


@call("infer: a batch, with a class for each image")
def _():
    images = numpy.random.default_rng(2).standard_normal((3, 3, 224, 224)).astype(numpy.float32)
    classes = numpy.array([281, 3, 7])
    result = client.infer(model, [given(images), given(classes, "INT64", name="class")])
    assert result.as_numpy("heatmap").shape == (3, 224, 224)
    assert result.as_numpy("classes").tolist() == classes.tolist()
    assert result.as_numpy("images").tolist() == [0, 1, 2]


@call("infer: the example of docs/server.md")
def _():
    guide = (ROOT / "docs" / "server.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", guide, re.DOTALL | re.MULTILINE)
    (example,) = (block for block in blocks if "tritonclient.grpc" in block)
    changes = (
        ("localhost:8081", arguments.grpc),
        ('"lite"', repr(model)),
        ('"cat.png"', repr(str(ROOT / "examples" / "photos" / "chelsea.png"))),
    )
    for old, new in changes:
        assert example.count(old) == 1, old
        example = example.replace(old, new)
    names = {}
    exec(example, names)
    assert names["maps"].dtype == numpy.float32 and names["maps"].shape == (1, 224, 224)


@call("infer: the same as over HTTP, to the bit", arguments.http)
def _():
    import tritonclient.http as http

    with http.InferenceServerClient(arguments.http) as other:
        tensor = http.InferInput("input", list(image.shape), "FP32")
        tensor.set_data_from_numpy(image)
        names = ("output", "heatmap", "scores", "classes", "images")
        outputs = [http.InferRequestedOutput(name, binary_data=True) for name in names]
        expected = other.infer(model, [tensor], outputs=outputs, parameters={"class": 281})
    result = client.infer(model, [given(image)], outputs=wanted(*names), parameters={"class": 281})
    for name in names:
        same(result.as_numpy(name), expected.as_numpy(name))


@call("infer: FP16, FP64, and what does not fit")
def _():
    half = image.astype(numpy.float16)
    single = client.infer(model, [given(half.astype(numpy.float32))]).as_numpy("output")
    same(client.infer(model, [given(half, "FP16")]).as_numpy("output"), single)
    close(client.infer(model, [given(half.astype(numpy.float64), "FP64")]).as_numpy("output"), single)
    refused("INVALID_ARGUMENT", client.infer, model, [given(image[:, :1])])
    refused("INVALID_ARGUMENT", client.infer, model, [given(image)], outputs=wanted("nothing"))
    refused("INVALID_ARGUMENT", client.infer, model, [given(image)], parameters={"method": "magic"})
    refused("NOT_FOUND", client.infer, "none", [given(image)])
    refused("NOT_FOUND", client.infer, model, [given(image)], model_version="77")


for algorithm in ("gzip", "deflate"):

    @call(f"infer: compressed by {algorithm}")
    def _(algorithm=algorithm):
        output = client.infer(model, [given(image)]).as_numpy("output")
        same(client.infer(model, [given(image)], compression_algorithm=algorithm).as_numpy("output"), output)


@call("async_infer: eight at once")
def _():
    images = [image * factor for factor in (1, 0.5, 0.25, 2, 3, 0.1, 4, 0.75)]
    answers = queue.Queue()
    for index, each in enumerate(images):
        client.async_infer(model, [given(each)], lambda result, error: answers.put((result, error)), request_id=str(index))
    for _ in images:
        result, error = answers.get(timeout=120)
        assert error is None, error
        each = images[int(result.get_response().id)]
        close(result.as_numpy("output"), client.infer(model, [given(each)]).as_numpy("output"))


@call("infer: timeouts, of gRPC and in microseconds")
def _():
    refused("DEADLINE_EXCEEDED", client.infer, model, [given(image)], client_timeout=0.001)
    refused("DEADLINE_EXCEEDED", client.infer, model, [given(image)], timeout=1)
    client.infer(model, [given(image)], timeout=60_000_000, client_timeout=60)


@call("async_infer: cancelled")
def _():
    answers = queue.Queue()
    # Minutes of work, if nobody ended it.
    context = client.async_infer(
        model,
        [given(image)],
        lambda result, error: answers.put((result, error)),
        parameters={"method": "scorecam"},
    )
    context.cancel()
    result, error = answers.get(timeout=60)
    assert result is None and "CANCELLED" in str(error), error


@call("start_stream, async_stream_infer: in order, and on after a failure")
def _():
    answers = queue.Queue()
    with triton.InferenceServerClient(arguments.grpc) as other:
        other.start_stream(lambda result, error: answers.put((result, error)))
        for index in range(6):
            name = "none" if index == 2 else model
            other.async_stream_infer(name, [given(image * (index + 1))], request_id=str(index))
        told = [answers.get(timeout=120) for _ in range(6)]
        other.stop_stream()
    for index, (result, error) in enumerate(told):
        if index == 2:
            assert result is None and "none does not exist" in str(error), error
        else:
            assert error is None and result.get_response().id == str(index), error
            close(result.as_numpy("output"), client.infer(model, [given(image * (index + 1))]).as_numpy("output"))


@call("stop_stream(cancel_requests=True)")
def _():
    ended = threading.Event()
    with triton.InferenceServerClient(arguments.grpc) as other:
        other.start_stream(lambda result, error: ended.set())
        other.async_stream_infer(model, [given(image)], parameters={"method": "scorecam"})
        other.stop_stream(cancel_requests=True)
        assert ended.wait(60)


@call("get_inference_statistics")
def _():
    def statistics():
        return client.get_inference_statistics(model).model_stats[0]

    before = statistics()
    client.infer(model, [given(image)], parameters={"class": 281})
    after = statistics()
    assert after.inference_stats.success.count - before.inference_stats.success.count == 1
    assert after.inference_stats.success.ns > before.inference_stats.success.ns
    assert after.inference_stats.compute_infer.ns > before.inference_stats.compute_infer.ns
    assert after.inference_count - before.inference_count == 1 and after.last_inference >= before.last_inference
    assert model in [each.name for each in client.get_inference_statistics().model_stats]


@call("get_model_repository_index")
def _():
    rows = {each.name: each for each in client.get_model_repository_index().models}
    assert rows[model].state == "READY" and rows[model].version, rows


@call("load_model, unload_model")
def _():
    try:
        client.load_model(model)
    except InferenceServerException as error:
        # A server without --model-control.
        assert error.status() == "StatusCode.PERMISSION_DENIED", error
        refused("PERMISSION_DENIED", client.unload_model, model)
        assert client.is_model_ready(model)
        return
    client.unload_model(model)
    assert not client.is_model_ready(model)
    refused("UNAVAILABLE", client.infer, model, [given(image)])
    client.load_model(model)
    assert client.is_model_ready(model) and client.infer(model, [given(image)])
    refused("NOT_FOUND", client.load_model, "none")
    refused("UNIMPLEMENTED", client.load_model, model, config='{"max_batch_size": 3}')


@call("shared memory, traces, logs: UNIMPLEMENTED, and why")
def _():
    for attempt in (
        client.get_trace_settings,
        client.get_log_settings,
        lambda: client.update_log_settings({"log_verbose_level": 1}),
        lambda: client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]}),
        client.get_system_shared_memory_status,
        client.get_cuda_shared_memory_status,
        client.unregister_system_shared_memory,
        client.unregister_cuda_shared_memory,
        lambda: client.register_system_shared_memory("region", "/key", 64),
        lambda: client.register_cuda_shared_memory("region", b"AAAA", 0, 64),
    ):
        assert "is not supported" in refused("UNIMPLEMENTED", attempt)
    shared = triton.InferInput("input", [1, 3, 224, 224], "FP32")
    shared.set_shared_memory("region", image.nbytes)
    refused("UNIMPLEMENTED", client.infer, model, [shared])


@call("the code of a failure is behind its answer")
def _():
    with grpc.insecure_channel(arguments.grpc) as channel:
        ready = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelReady",
            request_serializer=service_pb2.ModelReadyRequest.SerializeToString,
            response_deserializer=service_pb2.ModelReadyResponse.FromString,
        )
        try:
            ready(service_pb2.ModelReadyRequest(name="none"), metadata=[("x-request-id", "mine-7")])
        except grpc.RpcError as error:
            told = dict(error.trailing_metadata())
            assert told["gradcam-code"] == "ERR_UNKNOWN_MODEL" and told["x-request-id"] == "mine-7", told
        else:
            raise AssertionError("it did not fail")


passed = [attempt(title, check) for title, check in calls]
client.close()
finish(passed, "tritonclient.grpc")
