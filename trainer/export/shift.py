"""A scale and a shift after the score of an ONNX graph, so that its threshold lies where ours do."""

from pathlib import Path

from fleet_contract.errors import ModelError


def shift_score(source: Path, out: Path, scale: float, shift: float) -> None:
    """Writes the graph of `source` with `score` replaced by `scale * score + shift`.

    Raises ModelError where the graph has no such output.
    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(str(source))
    producers = [node for node in model.graph.node if "score" in node.output]
    if not producers:
        raise ModelError(f"{source.name} has no output 'score'", expected="score and mask",
                         found=", ".join(o.name for o in model.graph.output))  # fmt: skip
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == "score":
                    names[place] = "score_before_calibration"
    for name, value in (("calibration_scale", scale), ("calibration_shift", shift)):
        model.graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, [], [value]))
    model.graph.node.extend([
        helper.make_node("Mul", ["score_before_calibration", "calibration_scale"], ["score_scaled"],
                         name="calibration_mul"),
        helper.make_node("Add", ["score_scaled", "calibration_shift"], ["score"],
                         name="calibration_add"),
    ])  # fmt: skip
    onnx.checker.check_model(model)
    onnx.save(model, str(out))
