"""A complete configuration with every default, as `loupe-trainer new` prints it."""

TEMPLATE = """\
# Training of line {line}. Quantities bear their unit; every value below is the default.

[line]
name = "{line}"

[input]               # what the network sees; frames of another size are resized to it
width = {width}           # pixels, a multiple of 8
height = {height}
channels = {channels}          # 3 is RGB, 1 is grey
min_side = 64         # frames with a side outside these bounds get no decision
max_side = 8192

[train]
time_budget = "60s"   # wall time of the training itself; ms, s, min, h
epochs = 400          # ends earlier after this many rounds over the images
seed = 0              # the same seed and epochs give the same weights on the same machine
batch = 16
width_factor = 0.5    # breadth of the network; 1.0 is four times the work of 0.5
learning_rate = 0.004
crop = 0.5            # side of the crops for locating defects, as a share of the image's
warm_start = true     # go on from the champion's weights, where one is given
threads = 1           # 0 is all cores, which pays for inputs well above 256 pixels

[augment]             # what the line's light, camera and fixture may do from part to part
gain = [0.85, 1.15]   # factor on the light
offset = [-6.0, 6.0]  # grey levels of 255
noise = [0.0, 3.0]    # standard deviation, grey levels of 255
colour = 0.04         # factor of up to 1 +- this on each channel by itself
shift = "4px"         # of the network's input
flip = false          # true where a mirrored part is as likely

[threshold]
overkill_at_most = 0.02   # share of good parts that may be rejected
calibration_share = 0.2   # of the good training parts, kept out of training to choose it on

[quantize]
calibration_images = 64

[gates]               # a bundle that misses one is made and marked, and cannot be released
max_flips = 0.05      # of the holdout, on which int8 may decide otherwise than fp32
min_auroc = "off"     # such as 0.95; "off" asks nothing
min_worst_slice_auroc = "off"   # of slices with five good and five defective images or more
max_latency_ms = "off"   # 99th percentile of the model that stands first (ONNX int8)
max_memory_mb = "off"    # that loading and judging add, at their peak
max_size_mb = "off"
max_bias = "off"      # difference of overkill or escape between two sites, cameras, ...

[bundle]
epoch = 1             # grows when older bundles of the line must not run again
hardware = ["*"]      # profiles that it may run on
golden = 8            # golden samples for the self-test on the device
"""


def template(line: str, *, width: int = 256, height: int = 256, channels: int = 3) -> str:
    """The TOML text for a line."""
    return TEMPLATE.format(line=line, width=width, height=height, channels=channels)
