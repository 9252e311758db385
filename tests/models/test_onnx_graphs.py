"""What the exporter has no word for means the same in a graph."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from models import onnx_graphs
from models.errors import ExportError
from models.onnx_graphs import open_graph, require_packages, write_graph

ROOT = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.5, 3.0], [0.0, 0.0, 4.0]])
KNOTS = torch.tensor([-1.0, 0.0, 0.0, 2.5])


class Solving(nn.Module):
    def forward(self, x):
        return torch.linalg.solve_triangular(ROOT, x, upper=True, left=False)


class Ranking(nn.Module):
    def forward(self, x):
        return torch.searchsorted(KNOTS, x[:, 0].contiguous())


class Sharing(nn.Module):
    def forward(self, x):
        return torch.special.ndtr(x.double())


def answers(module, folder, x):
    file = folder / f"{type(module).__name__}.onnx"
    example = torch.zeros(2, 3)
    write_graph(
        module, [example], file, inputs=["x"], outputs=["y"], axes={"x": {0: "B"}, "y": {0: "B"}}
    )
    return open_graph(file).run(["y"], {"x": x.numpy()})[0]


@pytest.mark.parametrize("module", [Solving(), Ranking(), Sharing()])
def test_an_operator_gives_what_pytorch_gives_for_any_number_of_rows(module, tmp_path):
    rows = [[-9.0, 1.0, 2.0], [-1.0, 0.0, 5.0], [0.0, -3.0, 0.1], [0.1, 8.0, 1.0], [9.0, 0.0, -6.0]]
    for x in (torch.tensor(rows), torch.tensor(rows[:1])):
        expected = module(x).numpy()
        found = answers(module, tmp_path, x)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_graphs_can_be_asked_for_from_many_threads(tmp_path):
    def write(i):
        folder = tmp_path / str(i)
        folder.mkdir()
        x = torch.full((3, 3), float(i))
        return np.abs(answers(Solving(), folder, x) - Solving()(x).numpy()).max()

    with ThreadPoolExecutor(4) as pool:
        assert max(pool.map(write, range(8))) < 1e-6


def test_it_is_said_which_packages_are_missing(monkeypatch):
    require_packages()
    monkeypatch.setattr(onnx_graphs, "PACKAGES", ("onnx", "no_such_package"))
    with pytest.raises(ExportError, match="onnx and no_such_package are not installed"):
        require_packages()
