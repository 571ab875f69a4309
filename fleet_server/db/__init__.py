"""The database: engine, sessions, the one list of models, migrations."""
