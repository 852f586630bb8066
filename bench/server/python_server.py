"""The usual way to explain over HTTP in Python: FastAPI, uvicorn and pytorch-grad-cam. float32 pixels in, a heatmap out.

python python_server.py THREADS PORT. A lock keeps requests apart, since pytorch-grad-cam's hooks belong to one model.
"""

import sys
import threading
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from pytorch_grad_cam import GradCAM

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from python_side import build  # noqa: E402 - the same weights as the other side's

model = build("resnet50")
cam = GradCAM(model=model, target_layers=[model.layer4])
lock = threading.Lock()


def explain(body: bytes) -> bytes:
    x = torch.frombuffer(bytearray(body), dtype=torch.float32).reshape(1, 3, 224, 224)
    with lock:
        return np.ascontiguousarray(cam(input_tensor=x, targets=None), dtype="<f4").tobytes()


@asynccontextmanager
async def warm(_app: FastAPI):
    for _ in range(3):
        explain(torch.zeros(1, 3, 224, 224).numpy().tobytes())
    print("ready", flush=True)
    yield


app = FastAPI(lifespan=warm)


@app.post("/explain")
async def endpoint(request: Request) -> Response:
    heatmap = await run_in_threadpool(explain, await request.body())
    return Response(heatmap, media_type="application/octet-stream")


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
