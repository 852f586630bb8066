"""ONNX Runtime or OpenVINO, each in a process of its own: the forward of a model that PyTorch exported as ONNX.

Started with the runtime's name and the number of threads; answering.py says how it is asked.

prepare  names the model's file, and the inputs' as float32 of 224 x 224 pixels
run      one timed call, from an array of numpy to one; what it gives can be written to a file, for comparison

Each batch size is compiled by itself, as the fixed shape is what both optimise best.
"""

import sys
import time

import numpy as np
from answering import answer_commands


def onnxruntime(model, batch, threads):
    import onnxruntime as runtime

    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_free_dimension_override_by_name("n", batch)
    # Its threads spin while it works, as they do by default, and rest when it is done: else they would go on to spin, for
    # as long as others are measured.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]


def openvino(model, batch, threads):
    import openvino

    core = openvino.Core()
    network = core.read_model(model)
    network.reshape({"x": [batch, 3, 224, 224]})
    # Left alone, it computes in bfloat16 where the processor can.
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(network, "CPU", settings).create_infer_request()
    return lambda x: request.infer({0: x}, share_inputs=True)[0]


class Side:
    def __init__(self, build, threads):
        self.build, self.threads = build, threads

    def prepare(self, model, input):
        self.model = model
        self.inputs = np.fromfile(input, dtype=np.float32).reshape(-1, 3, 224, 224)
        self.batch, self.forward = None, None
        return {}

    def run(self, contestant, batch, keep=None):
        if batch != self.batch:
            self.forward, self.batch = None, None  # one at a time is kept
            self.forward, self.batch = self.build(self.model, batch, self.threads), batch
        x = self.inputs[:batch]
        start = time.perf_counter()
        result = self.forward(x)
        milliseconds = (time.perf_counter() - start) * 1e3
        if keep:
            np.asarray(result, dtype=np.float32).tofile(keep)
        return {"ms": milliseconds}


if __name__ == "__main__":
    contestant = {"onnxruntime": onnxruntime, "openvino": openvino}[sys.argv[1]]
    answer_commands(Side(contestant, int(sys.argv[2])))
