"""Brings a database to the schema's head."""

from importlib import resources

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from fleet_contract.errors import StateError
from fleet_server.db.engine import Database


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(resources.files("fleet_server.db.migrations")))
    return config


def upgrade(database: Database, to: str = "head") -> None:
    """Runs every migration up to `to` that is missing.

    Raises StateError for a schema newer than this code.
    """
    config = _alembic()
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, to)
        except CommandError as error:
            raise StateError(
                "the database has a schema that this version does not know",
                found=str(error),
                remedy="Run the version of Loupe that wrote it, or a newer one.",
            ) from error
        connection.commit()


def revision(database: Database) -> str | None:
    """The revision that the database is at; None before the first migration."""
    with database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def heads() -> list[str]:
    """The heads of the migrations; there is one."""
    return list(ScriptDirectory.from_config(_alembic()).get_heads())
