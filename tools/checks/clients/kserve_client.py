"""KServe's own Python clients, over HTTP in both versions of its protocol and over gRPC, against a running server.

It needs kserve and numpy. Alone, with a server of `gradcam serve -m lite=... --grpc-port 8081`:

    python tools/checks/clients/kserve_client.py --http localhost:8080 --grpc localhost:8081 --model lite

Exit code 1: a call did not do what it should.
"""

import argparse
import asyncio
import base64
import logging
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument("--http", required=True, metavar="HOST:PORT", help="the server's port of HTTP")
options.add_argument("--grpc", required=True, metavar="HOST:PORT", help="its port of gRPC")
options.add_argument("--model", required=True, help="a classifier of ImageNet with its sidecar, 224 x 224 pixels")
arguments = options.parse_args()

# kserve reads the command line itself as it is imported.
sys.argv[1:] = []
import grpc  # noqa: E402
import httpx  # noqa: E402
import numpy  # noqa: E402
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest  # noqa: E402
from kserve.inference_client import RESTConfig  # noqa: E402
from kserve.protocol.infer_type import RequestedOutput  # noqa: E402
from table import CATS, close, finish, tell  # noqa: E402

logging.disable(logging.CRITICAL)  # The client logs what it raises.
base = f"http://{arguments.http}"
model = arguments.model
image = numpy.random.default_rng(1).standard_normal((1, 3, 224, 224)).astype(numpy.float32)
photo = (ROOT / "examples" / "photos" / "chelsea.png").read_bytes()


def request(binary, **more):
    tensor = InferInput("input", list(image.shape), "FP32")
    tensor.set_data_from_numpy(image, binary_data=binary)
    return InferRequest(model, [tensor], **more)


def outputs(response):
    return {each.name: each.as_numpy() for each in response.outputs}


async def version_1(client):
    """REST V1: is_server_live, is_model_ready, infer with a picture"""
    assert await client.is_server_live(base) and await client.is_model_ready(base, model)
    picture = {"b64": base64.b64encode(photo).decode()}
    answer = await client.infer(base, {"instances": [picture]}, model_name=model)
    assert int(numpy.argmax(answer["predictions"][0])) in CATS


async def version_1_tensors(client):
    """REST V1: infer with numbers"""
    answer = await client.infer(base, {"instances": image.tolist()}, model_name=model)
    assert numpy.array(answer["predictions"]).shape == (1, 1000)


async def version_2(client):
    """REST V2: is_server_live, is_server_ready, is_model_ready"""
    assert await client.is_server_live(base) and await client.is_server_ready(base)
    assert await client.is_model_ready(base, model) and not await client.is_model_ready(base, "none")


async def version_2_infer(client):
    """REST V2: infer in JSON and in bytes, an explain among them"""
    predicted = outputs(await client.infer(base, request(False), model_name=model))["output"]
    close(outputs(await client.infer(base, request(True), model_name=model))["output"], predicted)
    asked = request(True, parameters={"class": 281}, request_outputs=[RequestedOutput("heatmap")])
    heatmap = outputs(await client.infer(base, asked, model_name=model))["heatmap"]
    assert heatmap.shape == (1, 224, 224) and 0 <= heatmap.min() and heatmap.max() <= 1


async def version_2_failure(client):
    """REST V2: a failure is told in the server's words"""
    try:
        await client.infer(base, request(True), model_name="none")
    except httpx.HTTPStatusError as error:
        assert error.response.status_code == 404 and "none does not exist" in str(error), error
    else:
        raise AssertionError("it did not fail")


async def grpc_ready(client):
    """gRPC: is_server_live, is_server_ready, is_model_ready"""
    assert await client.is_server_live() and await client.is_server_ready() and await client.is_model_ready(model)


async def grpc_infer(client):
    """gRPC: infer, raw and typed, an explain among them, as over REST"""
    raw = outputs(await client.infer(request(True)))
    typed = outputs(await client.infer(request(False)))
    close(typed["output"], raw["output"])
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as rest:
        close(raw["output"], outputs(await rest.infer(base, request(True), model_name=model))["output"])
    asked = request(True, request_id="a-7", parameters={"class": 281, "method": "gradcam++", "upsample": True})
    answer = await client.infer(asked)
    told = outputs(answer)
    assert answer.id == "a-7" and answer.parameters["method"].string_param == "gradcam++", answer.parameters
    assert told["heatmap"].shape == (1, 224, 224) and told["classes"].tolist() == [281]


async def grpc_failure(client):
    """gRPC: failures have their status, and a deadline ends a call"""
    try:
        await client.infer(InferRequest("none", request(True).inputs))
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND and "none does not exist" in error.details(), error
    else:
        raise AssertionError("it did not fail")
    try:
        await client.infer(request(True, parameters={"method": "scorecam"}), timeout=0.5)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    else:
        raise AssertionError("it did not end")


async def main():
    table = (
        (lambda: InferenceRESTClient(RESTConfig(protocol="v1")), (version_1, version_1_tensors)),
        (lambda: InferenceRESTClient(RESTConfig(protocol="v2")), (version_2, version_2_infer, version_2_failure)),
        (lambda: InferenceGRPCClient(arguments.grpc), (grpc_ready, grpc_infer, grpc_failure)),
    )
    passed = []
    for make, checks in table:
        for check in checks:
            try:
                async with make() as client:
                    await check(client)
                passed.append(tell(check.__doc__))
            except Exception as error:
                passed.append(tell(check.__doc__, error))
    finish(passed, "kserve")


asyncio.run(main())
