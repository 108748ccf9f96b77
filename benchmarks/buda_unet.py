"""The U-Net of Buda, Saha and Mazurowski 2019 (doi:10.1016/j.compbiomed.2019.05.002) in PyTorch, from its description.

Five levels of 32 to 512 filters; a level has two 3 x 3 convolutions, each with batch normalisation
and ReLU; 2 x 2 max-pooling down, 2 x 2 transposed convolutions and concatenated skips up; one 1 x 1
convolution and a sigmoid at the end. 7.8 million parameters.
"""

import torch
from torch import Tensor, nn


class Unet(nn.Module):  # type: ignore[misc, unused-ignore] # of no type where PyTorch is not installed
    """Slices ``(n, c, y, x)`` to probabilities ``(n, 1, y, x)``.

    Parameters
    ----------
    width
        Filters of the first level; they double with each of the *depth* levels.
    """

    def __init__(self, width: int = 32, depth: int = 5, channels: int = 3) -> None:
        """Draw random weights."""
        super().__init__()
        widths = [width * 2**level for level in range(depth)]
        self.down = nn.ModuleList(_level(before, after) for before, after in zip([channels, *widths], widths, strict=False))
        self.rise = nn.ModuleList(nn.ConvTranspose2d(2 * filters, filters, 2, stride=2) for filters in widths[-2::-1])
        self.up = nn.ModuleList(_level(2 * filters, filters) for filters in widths[-2::-1])
        self.last = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the probabilities."""
        skips = []
        for number, level in enumerate(self.down):
            x = level(x if number == 0 else nn.functional.max_pool2d(x, 2))
            skips.append(x)
        skips.pop()
        for rise, level in zip(self.rise, self.up, strict=True):
            x = level(torch.cat([rise(x), skips.pop()], dim=1))
        return torch.sigmoid(self.last(x))


def _level(before: int, after: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [nn.Conv2d(channels, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
