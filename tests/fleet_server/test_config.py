"""`server.toml`: documented wholly, and errors that a person can mend."""

from pathlib import Path

import pytest

from fleet_contract.errors import ConfigError
from fleet_server.config import ServerConfig, read_config, render_config
from fleet_server.reference import PAGE, config_page

FOLDER = Path(__file__).parents[2] / "docs" / "reference"


def test_the_reference_page_is_what_the_code_says() -> None:
    assert (FOLDER / PAGE).read_text("utf-8") == config_page()
    assert "None |" not in config_page(), "every key says what it means"


def test_a_new_file_reads_as_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "server.toml").write_text(render_config(8500, 8900))
    config = read_config(tmp_path)
    defaults = ServerConfig()
    assert (config.http.port, config.broker.port) == (8500, 8900)
    assert (config.drift, config.runs, config.limits) == (
        defaults.drift, defaults.runs, defaults.limits,
    )  # fmt: skip
    assert config.database_url == f"sqlite:///{tmp_path / 'loupe.db'}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[http]\nport = 99999\n", "http.port"),
        ("[htttp]\nport = 1\n", "htttp"),
        ('[drift]\ncommand_repeat = "30"\n', "such as '2s'"),
        ("[runs]\nlease = 30\n", "runs.lease"),
        ('[http]\nhost = "192.168.1.5"\n', "this machine only"),
        ("folder = 3\n", "no key"),
        ("[http\n", "not TOML"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "server.toml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_config(tmp_path)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="loupe-server init"):
        read_config(tmp_path)
