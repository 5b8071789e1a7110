"""``certnet export``: a network as other tools read it."""

import json as _json
from pathlib import Path
from typing import Any

from certnet.cli.options import JSON, NETWORK
from certnet.cli.parsing import option
from formulations import InputError


def export(
    network: str = NETWORK,
    onnx: str | None = option("Write an ONNX graph, FILE.onnx.", metavar="FILE"),
    torch: str | None = option("Write tensors for PyTorch, FILE.safetensors; no pickle.", metavar="FILE"),
    numpy: str | None = option("Write NumPy arrays, FILE.npz.", metavar="FILE"),
    single: bool = option("Numbers of 32 bits instead of 64.", "--float32", default=False),
    json: bool = JSON,
) -> None:
    """Write NETWORK for other tools, with standardisation, and compare it with this network before it is written."""
    from certnet.cli.output import head
    from certnet.cli.rows import Subject
    from certnet.io.export import Kind, export
    from certnet.io.output import print_result
    from certnet.runtime.wording import up

    asked: dict[Kind, str | None] = {"onnx": onnx, "torch": torch, "numpy": numpy}
    given = {kind: path for kind, path in asked.items() if path is not None}
    if not given:
        raise InputError("Say what to write: --onnx FILE.onnx, --torch FILE.safetensors or --numpy FILE.npz.")
    subject = Subject.named(network)
    about = metadata(subject)
    lines, results = [], []
    for kind, path in given.items():
        done = export(Path(path), subject.read, kind, about, single=single)
        results.append({"file": str(done.path), "kind": kind, "difference": done.difference, "rows": done.rows})
        lines += [
            f"{done.path}: its outputs differ from the network's by {up(done.difference, 2)} at most, on {done.rows} "
            "points like the data; to use it:",
            *(f"    {line}" for line in done.how),
        ]
    report = {
        **head("export", None, f"{len(results)} files were written and compared"),
        "network": subject.name,
        "dtype": "float32" if single else "float64",
        "metadata": about,
        "results": results,
    }
    lines += [f"{name:<9}{about[name]}" for name in ("features", "classes", "scores") if name in about]
    print_result(report, lines, as_json=json)


def metadata(subject: Any) -> dict[str, str]:
    """What a file says about the network beside its numbers; values are text, lists in JSON."""
    read, run = subject.read, subject.run
    about = {"network": subject.name, "features": _json.dumps(list(read.feature_names), ensure_ascii=False)}
    if read.classes is not None:
        about["classes"] = _json.dumps(list(read.classes), ensure_ascii=False)
    if read.columns is not None:
        about["columns"] = _json.dumps(read.columns.to_json(), ensure_ascii=False)
    if run is not None:
        about["loss"] = run.objective["loss"]
    about["scores"] = _scores(about.get("loss", ""), read.classes is not None, read.is_binary)
    return about


def _scores(loss: str, classes: bool, binary: bool) -> str:
    """What the outputs mean."""
    if not classes:
        return "logarithms of the predicted means" if loss == "poisson" else "predicted numbers"
    if binary:
        also = "; its logistic function is the probability of that class" if loss == "logistic" else ""
        return f"positive for the second class{also}"
    also = "; their softmax are the probabilities" if loss == "cross-entropy" else ""
    return f"one for each class, the largest wins{also}"
