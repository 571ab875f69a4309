"""The complete, commented configuration that `loupe-agent example-config` prints; a test loads it."""

EXAMPLE = """\
# station.toml: one inspection station. Paths are relative to this file; quantities carry units.
device = "station-1"            # the common name of the device's certificate
heartbeat = "30s"

[link]                          # the fleet's broker, and this device's identity
host = "127.0.0.1"
port = 8883
ca = "ca.crt"
cert = "device.crt"
key = "device.key"
keepalive = "15s"
ack_timeout = "10s"             # no word from the server for this long: send again
request_timeout = "10s"
# max_rate = "200kB/s"          # to the server at most, events first and images last; left out: no limit

[trust]                         # first root metadata, shipped with the device
image_root = "image-root.json"
director_root = "director-root.json"
refresh = "5min"                # look for assignments unasked this often

[data]
folder = "data"                 # everything durable; one agent a folder
spool_limit = "256MB"           # reports that wait for the server; the least valuable go first
disk_reserve = "50MB"           # free space that fetching a bundle leaves

[board]
file = "board.toml"             # hardware, runtime, precision, threads, memory_limit

[line]
name = "watch-case"
deadline = "500ms"              # a later verdict is no_decision

[source]
kind = "line_camera"            # numbered triggers and a buffer, over HTTP; others below, and in
url = "http://127.0.0.1:8500"   # how-to/connect-a-camera.md
camera = "cam-1"
channels = 3
depth = 8                       # bits of a channel, or 16
timeout = "5s"
# mm_per_pixel = 0.05           # of every kind: by `loupe-agent calibrate`; left out: the bundle's

# [source]                      # image files in the order of their names
# kind = "folder"
# path = "images"
# pattern = "*.png"
# rate = "4Hz"
# repeat = false
# channels = 3
# depth = 8

# [source]                      # the frames of a video file
# kind = "video"
# path = "film.mp4"
# rate = "4Hz"
# repeat = false
# channels = 3

# [source]                      # a network camera: MJPEG over HTTP
# kind = "mjpeg"
# url = "http://name:password@192.168.0.20/video.mjpg"
# channels = 3
# queue = 4                     # frames that may wait for the inspection
# max_age = "2s"                # without a new frame for this long the camera is lost

# [source]                      # a network camera: RTSP over TCP; queue and max_age as above
# kind = "rtsp"
# url = "rtsp://name:password@192.168.0.20/stream1"

# [source]                      # a camera of the kernel, such as a USB camera; queue, max_age too
# kind = "v4l2"
# device = "/dev/video0"
# width = 1920
# height = 1080
# rate = "30Hz"
# format = "MJPG"
# [source.controls]             # left out: as they are; a value turns its automatic off
# auto_exposure = false
# exposure = "4ms"
# auto_gain = false
# gain = 10
# auto_white_balance = false
# white_balance = 4600          # kelvin
# auto_focus = false
# focus = 30
# check_every = "5s"            # how often to look whether one moved

# [source]                      # a GigE Vision camera; queue, max_age, controls too
# kind = "gige"
# address = "192.168.5.10"
# pixel_format = "Mono8"
# region = [0, 0, 1024, 1024]   # x, y, width, height
# rate = "30Hz"

# [source]                      # images that another program sends: POST /parts
# kind = "push"
# host = "127.0.0.1"
# port = 8600
# queue = 16                    # images that may wait; more are refused with 503
# max_image = "32MB"
# channels = 3
# depth = 8

# [[cameras]]                   # a further live camera, that the trigger makes one part of with it
# kind = "mjpeg"
# url = "http://192.168.0.21/video.mjpg"
# camera = "cam-2"

[part]                          # what one part is made of, and how its views make one verdict
frames = 1                      # of each camera for a trigger; views are then cam-1.1, cam-1.2, ...
spacing = "0ms"                 # from one frame to the next, at least
timeout = "500ms"               # a view that comes no sooner after the one before it is missing
rule = "any_rejects"            # or "mean_score", "max_score"
# views_needed = 1              # with fewer: no_decision; left out: all
# recipes = { "cam-2" = "side" }    # by view: what the bundle calls its limits

# [recipes.steel]               # what a recipe moves at the station before the part's frame is taken
# settle = "50ms"               # from the change until frames show it
# skip = 1                      # frames that are passed over after it
# [recipes.steel.controls.cam-1]    # as source.controls
# exposure = "2ms"

[trigger]                       # what is a part, before live cameras; others say so themselves
kind = "free"                   # every frame
# rate = "10Hz"                 # parts a second at most; left out: as many as frames come

# [trigger]                     # a program of the line: POST /triggers
# kind = "http"
# host = "127.0.0.1"
# port = 8601
# delay = "0ms"                 # from the signal until the part lies before the camera
# timeout = "500ms"             # without a frame for this long: a part without a picture

# [trigger]                     # messages of a broker of the plant; delay, timeout as above
# kind = "mqtt"
# host = "192.168.1.20"
# port = 1883
# topic = "plant/line-1/trigger"
# client = "loupe-trigger"
# ca = "plant-ca.crt"           # left out: no TLS
# user = "loupe"
# password_file = "plant-password"

# [trigger]                     # a coil that the PLC sets for each part and the agent clears
# kind = "modbus"
# host = "192.168.1.10"
# port = 502
# unit = 1
# coil = 16
# poll = "10ms"
# wait = "500ms"                # a PLC that does not answer for this long is lost
# recipe_register = 16          # left out: no recipe
# recipes = { 1 = "steel", 2 = "brass" }

# [trigger]                     # a line of a GPIO chip, such as a light barrier's
# kind = "gpio"
# chip = "/dev/gpiochip0"
# line = 23
# edge = "rising"               # or "falling"
# pull = "none"                 # or "up", "down"
# debounce = "0ms"

# [trigger]                     # an input of a GigE camera: each frame that it sends is a part
# kind = "camera"
# line = "Line1"

[[outputs]]                     # as many as are wanted; none: verdicts go to the server alone
kind = "jsonl"                  # each verdict as a line in file
file = "verdicts.jsonl"

# [[outputs]]                   # registers of a PLC; see how-to/connect-a-plc.md
# kind = "modbus"
# host = "192.168.1.10"
# port = 502
# unit = 1
# registers = 0                 # first holding register, from 0
# coils = 0                     # first coil; left out: registers alone
# hold = "500ms"                # how long a verdict stands, unless the next takes its place
# heartbeat = "500ms"
# timeout = "500ms"

# [[outputs]]                   # lines of a GPIO chip: each verdict a pulse
# kind = "gpio"
# chip = "/dev/gpiochip0"
# ready = 17
# accept = 27
# reject = 22
# active_low = false
# hold = "50ms"                 # width of a pulse
# gap = "10ms"                  # shortest rest between two

# [[outputs]]                   # a broker of the plant: {topic}/verdict, {topic}/ready
# kind = "mqtt"
# host = "192.168.1.20"
# port = 1883
# topic = "plant/line-1"
# client = "loupe-output"
# ca = "plant-ca.crt"           # left out: no TLS
# user = "loupe"
# password_file = "plant-password"
# timeout = "2s"

# [[outputs]]                   # a server that is called back with each verdict
# kind = "http"
# url = "http://192.168.1.30:8080/verdicts"
# timeout = "2s"

# [judge]                       # who judges until a bundle does, by a program: POST /verdicts
# kind = "http"
# host = "127.0.0.1"
# port = 8602
# within = "10s"                # a part and a verdict that come further apart do not belong together

# [judge]                       # by a message of a broker of the plant; TLS, user as in outputs
# kind = "mqtt"
# host = "192.168.1.20"
# topic = "plant/line-1/judged"
# client = "loupe-judge"

# [judge]                       # by a coil and a register of the PLC
# kind = "modbus"
# host = "192.168.1.10"
# port = 502
# unit = 1
# coil = 40                     # the PLC sets it once a verdict lies there, and the agent clears it
# verdict_register = 40         # 1 accept, 2 reject
# poll = "10ms"
# wait = "500ms"

[guard]                         # the process that holds the outputs, but for files
silence = "2s"                  # an agent that is not heard for this long is not ready

[windows]
length = "60s"
sample_rate = "5Hz"             # frames that are measured at most

[samples]                       # images sent for review
audit_share = 0.02              # random share of all parts
audit_per_hour = 20
rejects_per_hour = 60
near_per_hour = 60              # scores near the threshold
disagreements_per_hour = 200    # active and candidate differ
per_day = 1000                  # of all together, in any 24 hours

[probation]                     # what a new bundle must show before it is committed
parts = 200
max_faults = 2
max_no_decision = 0.05
max_late = 0.1
max_score_shift = 0.5
deaths = 2

[trial]                         # self-test of a new bundle, in a process of its own
time_limit = "60s"
max_latency = "500ms"

[shadow]
queue = 8                       # frames that may wait for the candidate

[box]                           # status page and Prometheus metrics, read-only, for who reaches it
address = "127.0.0.1:8421"      # port 0 takes a free one; "" serves nothing
"""
