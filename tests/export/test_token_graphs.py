"""An integrated network as two graphs: any view, any number of tokens, and a count without it."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from leafscout.errors import InputError
from leafscout.export.graphs import write_token_graphs
from leafscout.export.token_macs import fit_token_macs
from leafscout.gated_model import EarlyAnswer, LaterAnswer
from leafscout.gated_networks import TorchTokenNetwork, build_gated_transformer
from leafscout.recognisers.gated_transformer import GatedTransformer

CPU = torch.device("cpu")
WIDTH = 16


def make_network(token_px: int = 16, early_blocks: int = 1, stem: str = "tiny") -> GatedTransformer:
    torch.manual_seed(0)
    return build_gated_transformer(
        stem, 3, token_px=token_px, width=WIDTH, early_blocks=early_blocks, later_blocks=2,
        num_heads=2,
    ).eval()  # fmt: skip


def run_graph(path: Path, values: np.ndarray) -> tuple[np.ndarray, ...]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return tuple(session.run(None, {given.name: values}))


def write(network: GatedTransformer, folder: Path, *, attention: bool = True) -> tuple[Path, Path]:
    files = folder / "early.onnx", folder / "later.onnx"
    write_token_graphs(network, *files, attention=attention)
    return files


@pytest.mark.parametrize(("token_px", "early_blocks"), [(16, 0), (32, 1)])
def test_views_of_any_size_and_any_number_of_tokens(
    token_px: int, early_blocks: int, tmp_path: Path
) -> None:
    network = make_network(token_px, early_blocks)
    early, later = write(network, tmp_path)
    rng = np.random.default_rng(0)
    for height, width in ((256, 192), (32, 32), (48, 176), (512, 384)):
        view = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        with torch.no_grad():
            tokens = network.embed(torch.from_numpy(view).permute(2, 0, 1)[None])
            logits = network.gate(tokens.values)[0]
        found = EarlyAnswer(*run_graph(early, view))
        assert found.token_values.shape == (tokens.rows, tokens.columns, WIDTH)
        flat = found.token_values.reshape(-1, WIDTH)
        np.testing.assert_allclose(flat, tokens.values[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.gate_logits.reshape(-1), logits, rtol=1e-4, atol=1e-5)
        for count in {1, len(flat) // 3 or 1, len(flat)}:
            with torch.no_grad():
                expected = network.read(tokens.values[:, :count])
            seen = LaterAnswer(*run_graph(later, flat[:count]))
            for one, other in zip(seen, expected, strict=True):
                assert one.dtype == np.float32
                np.testing.assert_allclose(one, other[0], rtol=1e-4, atol=1e-5)


def test_attention_that_no_pooling_reads_is_zero(tmp_path: Path) -> None:
    network = make_network()
    _, later = write(network, tmp_path, attention=False)
    values = np.random.default_rng(0).normal(size=(5, WIDTH)).astype(np.float32)
    found = LaterAnswer(*run_graph(later, values))
    with torch.no_grad():
        expected = network.read(torch.from_numpy(values)[None]).token_logits[0]
    np.testing.assert_allclose(found.token_logits, expected, rtol=1e-4, atol=1e-5)
    assert found.attention_logits.shape == (5, 3)
    assert not found.attention_logits.any()


def test_nothing_of_this_computer_is_in_a_graph(tmp_path: Path) -> None:
    for path in write(make_network(), tmp_path):
        data = path.read_bytes()
        assert b".py" not in data
        assert str(Path.home()).encode() not in data


def test_a_network_that_no_graph_can_hold_is_named(tmp_path: Path) -> None:
    network = make_network()
    said = network.gate.forward

    def forward(tokens: Tensor) -> Tensor:
        return said(tokens) if float(tokens.sum()) > 0 else -said(tokens)

    network.gate.forward = forward  # type: ignore[method-assign]
    with pytest.raises(
        InputError, match=r"The integrated network, on the stem 'tiny', cannot be written as ONNX"
    ):
        write(network, tmp_path)


@pytest.mark.parametrize(
    ("stem", "token_px", "early_blocks"),
    [
        ("tiny", 8, 0),
        ("tiny", 16, 1),
        ("tiny", 32, 1),
        ("mobilenetv2_100", 16, 0),
        ("efficientnet_b0", 32, 0),
        ("vit_tiny_patch16_224", 16, 2),
    ],
)
def test_the_closed_form_counts_what_runs(stem: str, token_px: int, early_blocks: int) -> None:
    runtime = TorchTokenNetwork(make_network(token_px, early_blocks, stem), CPU)
    macs = fit_token_macs(runtime)
    for view in ((112, 208), (256, 192), (32, 272)):
        tokens = runtime.count_tokens(view)
        for kept in (0, 1, tokens // 2, tokens):
            assert macs.count(view, tokens, kept) == runtime.count_macs(view, kept)


def test_a_stem_that_no_closed_form_counts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    count = TorchTokenNetwork.count_macs
    monkeypatch.setattr(
        TorchTokenNetwork, "count_macs",
        lambda self, view, kept: count(self, view, kept) + view[0] ** 2 % 7,
    )  # fmt: skip
    with pytest.raises(InputError, match="follow no closed form in the size of the photo"):
        fit_token_macs(TorchTokenNetwork(make_network(), CPU))
