"""What devices send up: windows, verdicts, events; stored once, whatever comes twice."""
