"""Triton's own Python client over HTTP against a running server: each call in a row of a table.

It needs tritonclient[http] and numpy. tools/checks/clients/run.mjs starts servers and runs it; alone:

    python tools/checks/clients/http_client.py --http localhost:8080 --model lite

What belongs to a server with --model-control is left out without --loadable, what belongs to one without it without
--uncontrolled, and half precision without --half. Exit code 1: a call did not do what it should.
"""

import argparse
import base64
from pathlib import Path

import numpy
import tritonclient.http as triton
from table import CATS, attempt, call, calls, finish, same
from tritonclient.utils import InferenceServerException

PHOTO = Path(__file__).parents[3] / "examples" / "photos" / "chelsea.png"

options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument("--http", required=True, metavar="HOST:PORT", help="the server")
options.add_argument("--grpc", metavar="HOST:PORT", help="not used here")
options.add_argument("--model", required=True, help="a classifier of ImageNet with its sidecar, 224 x 224 pixels")
options.add_argument("--loadable", metavar="NAME", help="a model of the repository that is not loaded yet")
options.add_argument("--half", metavar="NAME", help="a model of the repository in bfloat16, 16 x 16 pixels")
options.add_argument("--uncontrolled", metavar="HOST:PORT", help="a server of the same model without --model-control")
arguments = options.parse_args()

client = triton.InferenceServerClient(arguments.http, concurrency=4)
model = arguments.model
image = numpy.random.default_rng(1).standard_normal((1, 3, 224, 224)).astype(numpy.float32)
photo = numpy.array([PHOTO.read_bytes()], dtype=numpy.object_)


def given(values, datatype="FP32", binary=True, name="input"):
    tensor = triton.InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values, binary_data=binary)
    return tensor


def wanted(*names, binary=True):
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


def refused(status, call, *args, **kwargs):
    """The client raises the server's own words, with its status."""
    try:
        call(*args, **kwargs)
    except InferenceServerException as error:
        assert error.status() == str(status), f"{error.status()} instead of {status}: {error.message()}"
        assert error.message().strip() and "exception occurred in the client" not in error.message(), error.message()
        return
    raise AssertionError(f"it was not refused with {status}")


@call("is_server_live, is_server_ready, is_model_ready")
def _():
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready(model) and client.is_model_ready(model, "1")
    assert not client.is_model_ready(model, "77") and not client.is_model_ready("none")


@call("get_server_metadata")
def _():
    metadata = client.get_server_metadata()
    assert metadata["name"] == "node-gradcam" and metadata["version"], metadata
    assert {"binary_tensor_data", "statistics", "model_configuration"} <= set(metadata["extensions"]), metadata


@call("get_model_metadata")
def _():
    metadata = client.get_model_metadata(model)
    assert metadata == client.get_model_metadata(model, "1")
    assert metadata["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 3, 224, 224]}], metadata
    assert metadata["outputs"][0] == {"name": "output", "datatype": "FP32", "shape": [-1, 1000]}, metadata


@call("get_model_config")
def _():
    config = client.get_model_config(model)
    assert config == client.get_model_config(model, "1")
    assert config["max_batch_size"] >= 1 and config["input"][0]["dims"] == [3, 224, 224], config
    assert config["output"][0] == {"name": "output", "data_type": "TYPE_FP32", "dims": [1000]}, config


@call("infer: bytes in, bytes out; JSON in, JSON out; the same to the bit")
def _():
    output = client.infer(model, [given(image)]).as_numpy("output")
    assert output.shape == (1, 1000) and output.dtype == numpy.float32
    same(client.infer(model, [given(image, binary=False)]).as_numpy("output"), output)
    result = client.infer(model, [given(image, binary=False)], outputs=wanted("output", binary=False))
    assert "data" in result.get_output("output"), result.get_output("output")["datatype"]
    same(result.as_numpy("output"), output)


@call("infer: a picture as BYTES")
def _():
    # In JSON a picture is base64, which the client leaves to its user.
    encoded = numpy.array([base64.b64encode(photo[0])], dtype=numpy.object_)
    for sent in (given(photo, "BYTES"), given(encoded, "BYTES", binary=False)):
        assert int(client.infer(model, [sent]).as_numpy("output").argmax()) in CATS


@call("infer: heatmap, scores and classes of an explain")
def _():
    result = client.infer(
        model,
        [given(photo, "BYTES")],
        outputs=wanted("heatmap", "classes") + wanted("scores", binary=False),
        parameters={"method": "gradcam++", "class": "tabby"},
    )
    heatmap = result.as_numpy("heatmap")
    assert heatmap.shape == (1, 224, 224) and heatmap.min() >= 0 and heatmap.max() <= 1 and heatmap.max() > 0.5
    assert result.as_numpy("classes").tolist() == [281] and result.as_numpy("scores").shape == (1,)
    assert result.as_numpy("output") is None and result.get_response()["parameters"]["method"] == "gradcam++"


@call("infer: a batch, with a class for each image, an id and a version")
def _():
    images = numpy.random.default_rng(2).standard_normal((3, 3, 224, 224)).astype(numpy.float32)
    classes = numpy.array([281, 3, 7])
    result = client.infer(
        model, [given(images), given(classes, "INT64", name="class")], model_version="1", request_id="a-7"
    )
    assert result.get_response()["id"] == "a-7" and result.get_response()["model_version"] == "1"
    assert result.as_numpy("heatmap").shape == (3, 224, 224)
    assert result.as_numpy("classes").tolist() == classes.tolist()
    assert result.as_numpy("images").tolist() == [0, 1, 2]


@call("async_infer: four at once")
def _():
    images = [image * factor for factor in (1, 0.5, 0.25, 2)]
    waiting = [client.async_infer(model, [given(each)], request_id=str(index)) for index, each in enumerate(images)]
    for index, (request, each) in enumerate(zip(waiting, images)):
        result = request.get_result()
        assert result.get_response()["id"] == str(index)
        output = client.infer(model, [given(each)]).as_numpy("output")
        assert numpy.allclose(result.as_numpy("output"), output, rtol=1e-4, atol=1e-4)


for algorithm in ("gzip", "deflate"):

    @call(f"infer: request compressed by {algorithm}, bytes and JSON")
    def _(algorithm=algorithm):
        output = client.infer(model, [given(image)]).as_numpy("output")
        for binary in (True, False):
            result = client.infer(model, [given(image, binary=binary)], request_compression_algorithm=algorithm)
            same(result.as_numpy("output"), output)

    @call(f"infer: answer compressed by {algorithm}, bytes and JSON")
    def _(algorithm=algorithm):
        output = client.infer(model, [given(image)]).as_numpy("output")
        encodings = []
        post = client._post

        def watched(*args, **kwargs):
            response = post(*args, **kwargs)
            encodings.append(response.get("content-encoding"))
            return response

        client._post = watched
        try:
            for binary in (True, False):
                result = client.infer(
                    model,
                    [given(image)],
                    outputs=wanted("output", binary=binary),
                    response_compression_algorithm=algorithm,
                )
                same(result.as_numpy("output"), output)
        finally:
            del client._post
        assert encodings == [algorithm, algorithm], encodings


@call("infer: FP16 inputs, FP64 inputs, and what does not fit")
def _():
    half = image.astype(numpy.float16)
    single = client.infer(model, [given(half.astype(numpy.float32))]).as_numpy("output")
    same(client.infer(model, [given(half, "FP16")]).as_numpy("output"), single)
    refused(400, client.infer, model, [given(image[:, :1])])
    refused(400, client.infer, model, [given(image)], outputs=wanted("nothing"))
    refused(404, client.infer, "none", [given(image)])
    refused(404, client.infer, model, [given(image)], model_version="77")


@call("infer: a timeout in microseconds")
def _():
    refused(504, client.infer, model, [given(image)], timeout=1)
    client.infer(model, [given(image)], timeout=60_000_000)


@call("get_inference_statistics")
def _():
    def statistics():
        return client.get_inference_statistics(model)["model_stats"][0]

    before = statistics()
    client.infer(model, [given(numpy.concatenate([image, image]))])
    after = statistics()
    assert after["inference_count"] - before["inference_count"] == 2, (before, after)
    assert after["inference_stats"]["success"]["count"] - before["inference_stats"]["success"]["count"] == 1
    assert after["inference_stats"]["success"]["ns"] > before["inference_stats"]["success"]["ns"]
    assert client.get_inference_statistics(model, "1")["model_stats"] == [after]
    assert after in client.get_inference_statistics()["model_stats"]


@call("get_model_repository_index")
def _():
    row = next(each for each in client.get_model_repository_index() if each["name"] == model)
    assert row["version"] == "1" and row["state"] == "READY", row


@call("load_model, unload_model", arguments.loadable)
def _():
    name = arguments.loadable
    assert not client.is_model_ready(name)
    client.load_model(name)
    assert client.is_model_ready(name) and client.get_model_config(name)["name"] == name
    client.unload_model(name)
    assert not client.is_model_ready(name)
    states = {each["name"]: each["state"] for each in client.get_model_repository_index()}
    assert states[name] == "UNAVAILABLE", states
    refused(404, client.load_model, "none")
    refused(501, client.load_model, name, config='{"max_batch_size": 3}')


@call("load_model, unload_model without --model-control", arguments.uncontrolled)
def _():
    with triton.InferenceServerClient(arguments.uncontrolled) as other:
        refused(403, other.load_model, model)
        refused(403, other.unload_model, model)
        assert other.is_model_ready(model)


@call("infer: BF16 out of a model in bfloat16", arguments.half)
def _():
    client.load_model(arguments.half)
    small = numpy.random.default_rng(3).standard_normal((2, 3, 16, 16)).astype(numpy.float32)
    result = client.infer(arguments.half, [given(small)])
    assert result.get_output("output")["datatype"] == "BF16", result.get_output("output")
    # Of ml_dtypes, or float32 in older versions of the client.
    output = result.as_numpy("output").astype(numpy.float32)
    assert output.shape[0] == 2 and not (output.view(numpy.uint32) & 0xFFFF).any() and output.any()
    numbers = client.infer(arguments.half, [given(small)], outputs=wanted("output", binary=False))
    assert numbers.get_output("output")["data"] == output.flatten().tolist()
    assert client.get_model_metadata(arguments.half)["outputs"][0]["datatype"] == "BF16"


@call("get_trace_settings, update_trace_settings: 501")
def _():
    refused(501, client.get_trace_settings)
    refused(501, client.get_trace_settings, model)
    refused(501, client.update_trace_settings, settings={"trace_level": ["TIMESTAMPS"]})
    refused(501, client.update_trace_settings, model, {"trace_rate": "2"})


@call("get_log_settings, update_log_settings: 501")
def _():
    refused(501, client.get_log_settings)
    refused(501, client.update_log_settings, {"log_verbose_level": 1})


@call("shared memory: 501")
def _():
    for kind in ("system", "cuda"):
        refused(501, getattr(client, f"get_{kind}_shared_memory_status"))
        refused(501, getattr(client, f"get_{kind}_shared_memory_status"), "region")
        refused(501, getattr(client, f"unregister_{kind}_shared_memory"))
        refused(501, getattr(client, f"unregister_{kind}_shared_memory"), "region")
    refused(501, client.register_system_shared_memory, "region", "/key", 64)
    refused(501, client.register_cuda_shared_memory, "region", b"AAAA".decode(), 0, 64)
    shared = triton.InferInput("input", [1, 3, 224, 224], "FP32")
    shared.set_shared_memory("region", image.nbytes)
    refused(501, client.infer, model, [shared])
    out = triton.InferRequestedOutput("output")
    out.set_shared_memory("region", 4000)
    refused(501, client.infer, model, [given(image)], outputs=[out])


@call("classification of an output: 501")
def _():
    refused(501, client.infer, model, [given(image)], outputs=[triton.InferRequestedOutput("output", class_count=3)])


passed = [attempt(title, check) for title, check in calls]
client.close()
finish(passed, "tritonclient.http")
