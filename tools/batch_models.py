"""The networks of make_batch_fixtures.py: what takes one image only, what mixes the images of a batch, and inputs whose first
axis is not the images."""

import torch
import torch.nn.functional as F
from torch import nn


class OneImage(nn.Module):
    """Traced, the batch size 1 is part of the file."""

    def __init__(self, images=1):
        super().__init__()
        self.images = images
        self.body, self.head = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Linear(8 * 64, 4)

    def forward(self, x):
        return self.head(F.relu(self.body(x)).reshape(self.images, -1))


class OneRow(nn.Module):
    """Of several images it makes one row, without a word."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Linear(8, 4)

    def forward(self, x):
        x = F.relu(self.body(x)).transpose(0, 1).reshape(1, 8, -1)
        return self.head(x.amax(2))


class BatchStatistics(nn.Module):
    """BatchNorm without statistics of its own, also in eval mode."""

    def __init__(self):
        super().__init__()
        self.body, self.norm = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8, track_running_stats=False)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(F.relu(self.norm(self.body(x))).square().mean((2, 3)))


class Drops(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.drop, self.head = nn.Conv2d(3, 8, 3), nn.Dropout(0.25), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.drop(F.relu(self.body(x)).mean((2, 3))))


class RefusesDark(nn.Module):
    """Fails for some images, whatever is beside them."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Linear(8, 4)

    def forward(self, x):
        if bool((x.mean((1, 2, 3)) < 0.2).any()):
            raise ValueError("an image is too dark")
        return self.head(F.relu(self.body(x)).mean((2, 3)))


class Prompts(nn.Module):
    """Images against prompts, as CLIP's forward: [B, C, H, W] and [P, 6] give [B, P]."""

    def __init__(self):
        super().__init__()
        self.body, self.image = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Linear(8, 5)
        self.text = nn.Linear(6, 5)

    def forward(self, x, prompts):
        image = self.image(F.relu(self.body(x)).mean((2, 3)))
        return F.normalize(image, dim=1) @ F.normalize(self.text(prompts), dim=1).t() * 3


class Weighted(nn.Module):
    """A further input that belongs to the images."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Linear(8, 4)

    def forward(self, x, weights):
        return self.head(F.relu(self.body(x)).mean((2, 3)) * weights)
