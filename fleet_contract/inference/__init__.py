"""From a frame to a verdict: the same code in the trainer's evaluation and in the agent.

Needs the extra `inference`. A frame is uint8 of shape [height, width, 3] in RGB or [height, width]
in grey. Nothing here is imported by the rest of `fleet_contract`.
"""
