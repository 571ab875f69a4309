"""BatchNorm folded into the convolutions before it, so that every graph made of a network has the
same weights under the same names, and they may be rounded once for all."""

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold(model: nn.Module) -> None:
    """In place, for a network in evaluation mode; it can no longer be trained then."""
    for part in list(model.modules()):
        if not isinstance(part, nn.Sequential):
            continue
        for index in range(len(part) - 1):
            convolution, norm = part[index], part[index + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                part[index] = fuse_conv_bn_eval(convolution, norm)
                part[index + 1] = nn.Identity()
