"""Networks of make_model_kind_fixtures.py whose forward takes more than tensors."""

from typing import Dict, List, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import nn


class Options(nn.Module):
    """A parameter of every type between and behind two tensors; each changes the map."""

    def __init__(self):
        super().__init__()
        self.conv, self.body, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 5)

    def forward(
        self,
        x,
        scale: float,
        offset: torch.Tensor,
        times: int = 1,
        square: bool = False,
        activation: str = "relu",
        shift: Optional[float] = None,
        kept: Optional[List[int]] = None,
        window: Tuple[int, int] = (2, 2),
        gains: Optional[Dict[str, float]] = None,
        tables: Optional[List[torch.Tensor]] = None,
    ):
        x = self.conv(x) * scale
        if square:
            x = x * x
        if shift is not None:
            x = x + shift
        for _ in range(times):
            x = self.body(x)
            if activation == "relu":
                x = F.relu(x)
            elif activation == "tanh":
                x = torch.tanh(x)
            else:
                raise ValueError("activation is relu or tanh")
        if kept is not None:
            keep = torch.zeros(8, dtype=x.dtype, device=x.device)
            while len(kept) > 0:  # a list that is written to
                index = kept.pop()  # by itself, for TorchScript would do it twice
                keep[index] = 1.0
            x = x * keep.view(1, -1, 1, 1)
        x = F.avg_pool2d(x, [window[0], window[1]])
        if gains is not None:
            for name, gain in gains.items():
                x = x * gain if name == "all" else x + gain
        if tables is not None:
            for table in tables:
                x = x * table.view(1, -1, 1, 1)
        return self.head(x.square().mean((2, 3)) + offset)


class Voice(nn.Module):
    """One rate's network: an encoder of convolutions and an LSTM."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv1d(1, 6, 5, 3), nn.ReLU(), nn.Conv1d(6, 4, 3, 2), nn.ReLU())
        self.rnn, self.head = nn.LSTMCell(4, 6), nn.Linear(6, 3)

    def forward(self, x, state: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        x = self.encoder(x.unsqueeze(1)).mean(2)
        if len(state) > 0:
            h, c = self.rnn(x, (state[0], state[1]))
        else:
            h, c = self.rnn(x)
        return self.head(h), torch.stack([h, c])


class Remembers(nn.Module):
    """A tensor and a rate that chooses the network; context and LSTM state in attributes, as voice activity detectors
    keep them from chunk to chunk. The twin has none: every chunk is its first."""

    def __init__(self, remembers: bool):
        super().__init__()
        self.remembers = remembers
        self.fast, self.slow = Voice(), Voice()
        self.state, self.last = torch.zeros(0), torch.zeros(0)
        self.last_rate = 0

    def forward(self, x, sr: int):
        if sr != 16000 and sr != 8000:
            raise ValueError("the rate is 8000 or 16000")
        if self.remembers:
            if self.last_rate != 0 and self.last_rate != sr or len(self.last) != 0 and len(self.last) != len(x):
                self.state, self.last = torch.zeros(0), torch.zeros(0)
            if len(self.last) == 0:
                self.last = torch.zeros(len(x), 8 if sr == 16000 else 4, dtype=x.dtype, device=x.device)
            x = torch.cat([self.last, x], 1)
            if sr == 16000:
                out, self.state = self.fast(x, self.state)
                self.last = x[:, -8:]
            else:
                out, self.state = self.slow(x, self.state)
                self.last = x[:, -4:]
            self.last_rate = sr
            return out
        if sr == 16000:
            return self.fast(F.pad(x, (8, 0)), torch.zeros(0))[0]
        return self.slow(F.pad(x, (4, 0)), torch.zeros(0))[0]


class ListOfImages(nn.Module):
    """A list of images and a number that must be given."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

    def forward(self, images: List[torch.Tensor], exponent: float):
        x = F.relu(self.conv(torch.stack(images))) + 0.1
        return self.head((x**exponent).mean((2, 3)))


class TakesNumber(nn.Module):
    """Traced with a number, which is a tensor in a trace: one for all images, or one for each."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

    def forward(self, x, rate):
        x = F.relu(self.conv(x * rate.reshape(-1, 1, 1, 1)))
        return self.head((x * x).mean((2, 3)) * rate.reshape(-1, 1))
