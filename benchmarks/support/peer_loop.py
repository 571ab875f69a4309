"""A plain loop over the same images and model, run by the Python of an environment that has the runtime.

No package of Loupe is imported: what a person would write who has OpenCV, a runtime and a model.
"""

import json
import sys
import time
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

_WARM_UP = 20


def onnxruntime(model: str) -> Any:
    """A function from a tensor to outputs, on one thread."""
    ort = import_module("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda tensor: session.run(None, {name: tensor})


def openvino(model: str) -> Any:
    """The same, tuned for latency."""
    core = import_module("openvino").Core()
    hints = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    compiled = core.compile_model(model, "CPU", hints)
    request = compiled.create_infer_request()
    return lambda tensor: request.infer([tensor], share_inputs=True)


def main() -> None:
    """`RUNTIME MODEL FOLDER FRAMES HEIGHT WIDTH DTYPE LAYOUT ORDER`: one line of JSON."""
    runtime, model, folder, frames, height, width, dtype, layout, order = sys.argv[1:]
    cv2, numpy = import_module("cv2"), import_module("numpy")
    cv2.setNumThreads(1)
    infer = {"onnxruntime": onnxruntime, "openvino": openvino}[runtime](model)
    images = [numpy.fromfile(path, "uint8") for path in sorted(Path(folder).glob("*.png"))]
    times = []
    for number in range(int(frames) + _WARM_UP):
        start = time.perf_counter()
        picture = cv2.imdecode(images[number % len(images)], cv2.IMREAD_COLOR)
        if picture.shape[:2] != (int(height), int(width)):
            picture = cv2.resize(picture, (int(width), int(height)), interpolation=cv2.INTER_AREA)
        if order == "rgb":
            picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        tensor = picture[None].transpose(0, 3, 1, 2) if layout == "nchw" else picture[None]
        infer(numpy.ascontiguousarray(tensor, dtype=dtype))
        times.append(time.perf_counter() - start)
    told = {"version": metadata.version(runtime), "times_s": times[_WARM_UP:]}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
