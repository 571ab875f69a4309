"""Pages for the people of a factory: server-rendered, live by server-sent events."""
