"""ONNX of an artifact's network: what ONNX Runtime makes of looked-up rows is what the artifact says of raw ones."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from ctrgate.artifact import interchange
from ctrgate.artifact.bundle import Artifact, encode
from ctrgate.errors import ConfigError, HeldBackError
from tests.models.every_network import CASES, batch, model

needs_onnx = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="needs the packages of ctrgate[onnx]",
)
DIN = "model={name: din, mlp: {hidden: [8]}, attention_hidden: [4]}"
SPARSE = "model={name: mixture_of_experts, num_experts: 4, gate: {name: noisy_top_k}}"


def exported(run: Any, folder: Path, *overrides: str, network: str = "") -> dict[str, Any]:
    """Export with ONNX, of another network where one is named."""
    place = [f"runs={folder / 'runs'}", "name=other"] if network else []
    if network:
        run("train", *place, network)
    result: dict[str, Any] = run("export", *place, f"export.into={folder / 'model'}", "export.onnx=true", *overrides)
    return result


def by_runtime(folder: Path, given: dict[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """What ONNX Runtime says."""
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "network.onnx", providers=["CPUExecutionProvider"])
    asked = {each.name for each in session.get_inputs()}
    (found,) = session.run(None, {name: value for name, value in given.items() if name in asked})
    answer: np.ndarray[Any, Any] = found
    return answer


@needs_onnx
@pytest.mark.parametrize(("rule", "network"), [("dense", ""), ("fused", ""), ("dense", DIN)])
def test_onnx_runtime_gives_the_artifacts_logits_for_any_number_of_rows(
    trained_run: Any, rule: str, network: str, tmp_path: Path
) -> None:
    run = trained_run(rule)
    result = exported(run, tmp_path, network=network)
    assert result["differences"]["onnx"] < 1e-5
    artifact = Artifact.load(tmp_path / "model")
    for num_rows in (1, 600):
        rows = run.rows[:num_rows]
        fields = artifact.lookup(encode(rows, encoder=artifact.encoder, layout=artifact.layout))
        given = {name: tensor.numpy() for name, tensor in interchange._tensors(fields).items()}
        found = by_runtime(tmp_path / "model_onnx", given)
        np.testing.assert_allclose(found, artifact.logits(rows), atol=1e-5, rtol=1e-5)
        assert num_rows == 1 or found.std() > 1e-3
    if network:
        assert given["members/history/item"].shape == (600, 3, 6)
        assert given["mask/history"].shape == (600, 3)


@needs_onnx
def test_the_folder_says_what_it_is_and_lets_others_check_themselves(dense_run: Any, tmp_path: Path) -> None:
    result = exported(dense_run, tmp_path)
    folder = tmp_path / "model_onnx"
    about = json.loads((folder / "interface.json").read_text())
    assert (about["artifact"], about["labels"], about["output"]) == (result["identity"], ["click"], "logits")
    assert about["inputs"]["rows/user"] == ["rows", 6]
    assert about["inputs"]["vectors/image"] == ["rows", 3]
    assert about["numbers"] == ["price", "price:missing"]
    assert about["inputs"]["numbers"] == ["rows", 2]
    golden = load_file(folder / "golden.safetensors")
    expected = golden.pop("logits")
    assert set(golden) == set(about["inputs"])
    np.testing.assert_allclose(by_runtime(folder, golden), expected, atol=1e-5)
    np.testing.assert_allclose(expected, Artifact.load(tmp_path / "model").golden_logits, atol=1e-5)


@needs_onnx
def test_rows_that_were_rounded_are_given_as_the_artifact_reads_them(dense_run: Any, tmp_path: Path) -> None:
    result = exported(dense_run, tmp_path, "export.rows=int8")
    assert result["differences"]["onnx"] < 1e-5  # from the artifact, not from the checkpoint
    assert json.loads((tmp_path / "model_onnx/interface.json").read_text())["artifact"] == result["identity"]


@needs_onnx
def test_an_operator_without_a_form_is_refused_by_name_and_nothing_is_written(dense_run: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"export\.onnx: .* has no operator aten\.sort\.stable; set it to false"):
        exported(dense_run, tmp_path, network=SPARSE)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@needs_onnx
def test_a_runtime_that_computes_otherwise_holds_the_export_back(
    dense_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = interchange._OfTensors.forward
    converting = interchange._convert

    def convert_another(network: torch.nn.Module, *arguments: Any, **named: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(interchange._OfTensors, "forward", lambda self, tensors: forward(self, tensors) * 1.001)
            converting(network, *arguments, **named)

    monkeypatch.setattr(interchange, "_convert", convert_another)
    with pytest.raises(HeldBackError, match=r"ONNX Runtime gives other logits .* export\.tolerance\.onnx"):
        exported(dense_run, tmp_path)
    assert list(tmp_path.iterdir()) == []
    exported(dense_run, tmp_path, "export.tolerance.onnx=0.1")


ONE_OF_EACH = {case.values[0].name: case.values[0] for case in reversed(CASES)}


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize("config", ONE_OF_EACH.values(), ids=ONE_OF_EACH)
def test_every_network_is_written_or_refused_by_its_operator(config: Any, tmp_path: Path) -> None:
    evaluated = model(config).eval()
    with torch.no_grad():
        given, other = (interchange._tensors(evaluated.lookups(batch(rows, seed=rows))) for rows in (6, 200))
        network = interchange._OfTensors(evaluated.network, names=tuple(given), shifts=())
        if config.name == "mixture_of_experts":  # its gate is noisy top-k by default
            with pytest.raises(ConfigError, match=r"has no operator aten\.sort\.stable"):
                interchange._convert(network, given, output="found", into=tmp_path / "network.onnx")
            return
        interchange._convert(network, given, output="found", into=tmp_path / "network.onnx")
        assert interchange._difference(tmp_path / "network.onnx", other, network=network) < 1e-4


def test_packages_that_are_not_there_are_named(dense_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interchange, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(ConfigError, match=r"needs onnxscript; pip install 'ctrgate\[onnx\]'"):
        exported(dense_run, tmp_path)
    assert list(tmp_path.iterdir()) == []
