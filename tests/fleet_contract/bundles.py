"""A valid bundle without a usable model, for tests of packing and trust."""

import json

from fleet_contract.archive import file_entries, pack
from fleet_contract.manifest import Manifest


def files() -> dict[str, bytes]:
    """The files of the bundle."""
    return {
        "models/onnx-int8.onnx": b"model" * 300,
        "golden/0.png": b"png0",
        "golden/1.png": b"png1",
        "reference.json": b"{}",
        "evaluation.json": b"{}",
    }


def manifest(**change: object) -> Manifest:
    """Its manifest, with fields replaced."""
    content: dict[str, object] = {
        "line": "test-line",
        "created_s": 1.0,
        "epoch": 1,
        "hardware": ["*"],
        "input": {"channels": 3, "min_side": 8, "max_side": 512},
        "preprocess": {"height": 64, "width": 64, "channel_order": "rgb"},
        "models": [
            {
                "runtime": "onnx",
                "precision": "int8",
                "file": "models/onnx-int8.onnx",
                "dtype": "uint8",
                "layout": "nhwc",
                "score_tolerance": 0.1,
            }
        ],
        "decision": {"threshold": 0.5},
        "classes": ["good", "defect"],
        "golden": [
            {"file": "golden/0.png", "verdict": "accept", "scores": {"onnx/int8": 0.1}},
            {"file": "golden/1.png", "verdict": "reject", "scores": {"onnx/int8": 0.9}},
        ],
        "reference": "reference.json",
        "evaluation": "evaluation.json",
        "lineage": {"dataset": "d" * 64, "config": "c" * 64, "code": "0", "seed": 1},
        "files": {name: entry.model_dump() for name, entry in file_entries(files()).items()},
        **change,
    }
    return Manifest.model_validate_json(json.dumps(content))


def archive() -> bytes:
    """The packed bundle."""
    return pack(manifest(), files())
