"""A complete configuration with every default, as `loupe-trainer new` prints it."""

from typing import Literal

TEMPLATE = """\
# Training of line {line}. Quantities bear their unit; {defaults}

[line]
name = "{line}"

[input]                # what is looked at; "auto" is chosen from the data when training starts
width = "auto"         # of the network's input in pixels, a multiple of 16; both or none
height = "auto"        # auto: as fine as small defects need, in tiles where one view is too little
tiles = [1, 1]         # rows and columns of tiles, where width and height are given
overlap = "64px"       # of neighbouring tiles
channels = "auto"      # 3 is RGB, 1 is grey
levels = "auto"        # of frames of 16 bits: [value that becomes 0, value that becomes 255]
grey_range = "auto"    # mean grey level that a frame may have; others get no decision
min_side = 64          # frames with a side outside these bounds get no decision
max_side = 8192

[train]
family = "{family}"  # supervised, good_only (synthetic anomalies), statistical, plugin
network = "pretrained" # EfficientNet-Lite0; "light" is half as large and starts from nothing
plugin = ""            # of the family plugin: "module:function"
time_budget = "6min"   # wall time of the training itself; ms, s, min, h
epochs = 60            # ends earlier after this many rounds over the images
patience = 0.3         # cut short after this share of the training without a lower loss
seed = 0               # the same seed and epochs give the same weights on the same machine
batch = 12
width_factor = 1.0     # breadth of the light network
learning_rate = 0.001
synthetic = "auto"     # share of good pictures that are given an anomaly: half of them in good_only
members = 1            # of an ensemble; each is trained for its share of the time
ensemble = "mean"      # of the members' scores: mean, max, or vote
warm_start = true      # go on from the champion's weights, where one is given
threads = 0            # 0 is all cores

[augment]              # what the line's light, camera and fixture may do from part to part
gain = [0.55, 1.4]     # factor on the light
offset = [-8.0, 8.0]   # grey levels of 255
noise = [0.0, 4.0]     # standard deviation, grey levels of 255
colour = 0.04          # factor of up to 1 +- this on each channel by itself
slope = 0.15           # fall of light across the picture
shift = "8px"          # of the network's input
zoom = "auto"          # up to 1 + zoom times as large or as small; auto: 0.35 where defects are learnt
                       # from, for a few do not show all sizes; 0.12 where there are none
stretch = 0.12         # of the ratio of the sides
rotate = 2.0           # degrees to either side
flip = true            # false where a mirrored part is not as likely

[threshold]
promise = "overkill"      # which bound is kept: overkill, or escape
overkill_at_most = 0.02   # share of good parts that may be rejected
escape_at_most = 0.05     # share of defective parts that may pass
calibration_share = "auto"   # of the training parts, kept out of training to choose it on; auto: what
                          # the promise of overkill needs, 0.2 to 0.35; 0.2 for one of escapes

[quantize]
calibration_images = 64
max_change = 0.02     # mean change of a score by int8, above which layers stay float

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

# What is still accepted although its score is at the threshold or above. Without this table the
# score alone decides.
# [acceptance]
# mm_per_pixel = 0.05
# zones = [{{ name = "face", corners = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]] }}]
# limits = [
#     {{ zone = "*", kind = "scratch", max_length_mm = 1.0, max_count = 2 }},
#     {{ zone = "face", kind = "*", max_area_mm2 = 0.0 }},
# ]

# A variant of the product decides otherwise; the trigger names it.
# [recipes.matt]
# threshold = 0.6
"""


def template(line: str, family: Literal["supervised", "good_only"] = "supervised") -> str:
    """The TOML text for a line."""
    defaults = (
        "every value below is the default."
        if family == "supervised"
        else "every value below but train.family is the default."
    )
    return TEMPLATE.format(line=line, family=family, defaults=defaults)
