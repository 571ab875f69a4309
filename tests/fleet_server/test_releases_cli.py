"""`loupe release` and `loupe rollout` against a real HTTP server."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from typer.testing import CliRunner

from fleet_contract.archive import digest as digest_of
from fleet_contract.errors import LoupeError
from fleet_server.app import create_app
from fleet_server.cli.operator import app
from fleet_server.rollouts.controller import Controller
from fleet_server.serving import listen
from tests.support.deploy import LINE, Deploy, archive
from tests.support.wait import eventually


class Operator:
    """A person at a terminal, and the server that they talk to."""

    def __init__(self, deploy: Deploy, url: str, folder: Path) -> None:
        self.deploy, self.url = deploy, url
        self.http = httpx.Client(base_url=f"{url}/api/v1", trust_env=False)
        self.bundle = folder / "bundle.tar"
        self.bundle.write_bytes(archive())
        self.digest = digest_of(archive())
        self.plan = folder / "plan.toml"
        self.plan.write_text('[[stages]]\nname = "all"\nmin_parts = 0\nlook_every_s = 1\n')

    def key(self, name: str) -> str:
        return str(self.deploy.folder / "offline" / name)

    def loupe(self, *words: str) -> str:
        """Standard output; a LoupeError comes through, as the entry point would print it."""
        result = CliRunner().invoke(
            app, ["--server", self.url, "--by", "anna", *words], env={"COLUMNS": "200"}
        )
        if isinstance(result.exception, LoupeError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    def approve(self) -> None:
        self.loupe("release", "submit", str(self.bundle), "--key", self.key("pipeline.pem"))
        self.loupe("release", "approve", self.digest, "--key", self.key("approver.pem"))


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    deploy = Deploy(tmp_path / "server")
    listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(create_app(deploy.services), log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    eventually(lambda: server.started, 10, "the server listens")
    yield Operator(deploy, f"http://127.0.0.1:{listener.getsockname()[1]}", tmp_path)
    server.should_exit = True
    thread.join(10)


def test_a_bundle_is_submitted_approved_and_shown(operator: Operator) -> None:
    told = operator.loupe(
        "release", "submit", str(operator.bundle), "--key", operator.key("pipeline.pem")
    )
    assert "signed by 1 of 2 keys: awaiting approval" in told
    told = operator.loupe(
        "release", "approve", operator.digest[:10], "--key", operator.key("approver.pem")
    )
    assert operator.digest in told
    assert "adds only" in told
    assert "signed by 2 of 2 keys: approved" in told
    assert "approved" in operator.loupe("release", "list")
    row = json.loads(operator.loupe("release", "show", operator.digest, "--json"))
    assert (row["line"], row["state"], len(row["signed_by"])) == (LINE, "approved", 2)
    assert row["created_by"] == "anna"


def test_the_same_key_cannot_approve_alone(operator: Operator) -> None:
    key = operator.key("pipeline.pem")
    operator.loupe("release", "submit", str(operator.bundle), "--key", key)
    with pytest.raises(LoupeError, match="takes a second key"):
        operator.loupe("release", "approve", operator.digest, "--key", key)


def test_a_root_key_cannot_approve(operator: Operator) -> None:
    with pytest.raises(LoupeError, match="never signed by this key"):
        operator.loupe(
            "release", "submit", str(operator.bundle), "--key", operator.key("root-1.pem")
        )


def test_a_file_that_is_no_bundle_is_refused_with_a_reason(operator: Operator) -> None:
    operator.bundle.write_bytes(b"no tar")
    with pytest.raises(LoupeError, match="not a bundle's archive"):
        operator.loupe(
            "release", "submit", str(operator.bundle), "--key", operator.key("pipeline.pem")
        )


def test_a_release_with_one_signature_cannot_roll_out(operator: Operator) -> None:
    operator.loupe("release", "submit", str(operator.bundle), "--key", operator.key("pipeline.pem"))
    with pytest.raises(LoupeError, match="signatures of 2 keys; found 1"):
        operator.loupe("rollout", "start", operator.digest)


def test_a_rollout_is_started_watched_and_completed(operator: Operator) -> None:
    operator.approve()
    told = operator.loupe("rollout", "start", operator.digest, "--plan", str(operator.plan))
    assert told.startswith("Rollout 1 of")
    for device in operator.deploy.devices:
        operator.deploy.report(1, device, "committed")
    operator.deploy.clock.advance(2)
    Controller(operator.deploy.services).tick()
    assert "Rollout 1 is completed" in operator.loupe("rollout", "watch", "1")
    shown = operator.loupe("rollout", "show", "1")
    assert "3 devices run the bundle" in shown
    assert "completed" in operator.loupe("rollout", "list", "--line", LINE)


def test_a_rollout_is_paused_resumed_and_aborted(operator: Operator) -> None:
    operator.approve()
    operator.loupe("rollout", "start", operator.digest)
    assert "paused" in operator.loupe("rollout", "pause", "1", "--reason", "lunch")
    assert "running" in operator.loupe("rollout", "resume", "1")
    assert "aborted" in operator.loupe("rollout", "abort", "1")
    with pytest.raises(LoupeError, match="the state is final"):
        operator.loupe("rollout", "resume", "1")


def test_a_plan_with_a_mistake_is_refused_by_name(operator: Operator) -> None:
    operator.approve()
    operator.plan.write_text('[[stages]]\nname = "all"\nminparts = 0\n')
    with pytest.raises(LoupeError, match="minparts"):
        operator.loupe("rollout", "start", operator.digest, "--plan", str(operator.plan))


def test_a_server_that_is_not_there_is_a_clear_error(operator: Operator) -> None:
    operator.url = "http://127.0.0.1:9"
    with pytest.raises(LoupeError, match=r"127\.0\.0\.1:9"):
        operator.loupe("release", "list")


def test_the_archive_comes_back_byte_for_byte(operator: Operator) -> None:
    operator.approve()
    assert operator.http.get(f"/bundles/{operator.digest}").content == archive()


@pytest.mark.parametrize(
    ("body", "status"),
    [({"keyid": "a" * 64, "sig": "00"}, 403), ({"keyid": "a", "sig": "not hex"}, 422)],
)
def test_a_wrong_signature_is_a_clear_problem(
    operator: Operator, body: dict[str, str], status: int
) -> None:
    operator.loupe("release", "submit", str(operator.bundle), "--key", operator.key("pipeline.pem"))
    answer = operator.http.post(f"/releases/{operator.digest}/signatures", json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_unknown_numbers_and_digests_are_not_found(operator: Operator) -> None:
    for path in ("/releases/" + "0" * 64, "/bundles/" + "0" * 64, "/rollouts/77"):
        assert operator.http.get(path).status_code == 404
