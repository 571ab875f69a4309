"""A network camera for tests, in a process of the system's Python: RTSP, on one port.

    /usr/bin/python3 rtsp_peer.py PORT

It sends a picture that is red all over, 96x64, 30 a second, as JPEG over RTP.
"""

import sys

import gi  # type: ignore[import-not-found]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # type: ignore[import-not-found] # noqa: E402

PIPELINE = (
    "( videotestsrc is-live=true pattern=red ! video/x-raw,format=I420,width=96,height=64,framerate=30/1"
    " ! jpegenc ! rtpjpegpay name=pay0 pt=26 )"
)

Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(PIPELINE)
factory.set_shared(True)
server.get_mount_points().add_factory("/part", factory)
server.attach(None)
GLib.MainLoop().run()
