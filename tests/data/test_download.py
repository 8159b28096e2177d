"""The archive of the anthems: downloaded once, verified, never half there; and what stands in for it."""

from __future__ import annotations

import gc
import hashlib
import http.server
import pathlib
import shutil
import socket
import threading
from collections.abc import Iterator

import pytest

from vae_jax.data import corpus, download
from vae_jax.data.config import DataConfig
from vae_jax.data.download import fetch_anthems
from vae_jax.runtime.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

CONTENT = bytes(range(256)) * 400  # Several chunks.
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves one archive in the good and the bad ways that the path names."""

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path == "/silent":
            return
        self.send_response(200)
        if self.path != "/endless":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if self.path == "/endless":
            try:
                while True:
                    self.wfile.write(CONTENT)
                    self.server.num_sent += len(CONTENT)
            except OSError:
                self.server.hung_up.set()
        elif self.path == "/wrong":
            self.wfile.write(bytes(len(CONTENT)))
        else:
            self.wfile.write(CONTENT[: 1000 if self.path == "/truncated" else None])

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[str] = []
        self.num_sent = 0
        self.hung_up = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()
    gc.collect()  # urllib leaves the socket of an answer that it could not read to the collector, which warns.


@pytest.fixture
def refused_url(monkeypatch: pytest.MonkeyPatch) -> str:
    """An address at which nothing listens."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/NationalAnthems.zip"


@pytest.fixture
def user_cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """An empty cache folder in place of the user's own."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("VAE_JAX_CACHE", str(cache))
    return cache


def fetch(url: str, cache: pathlib.Path) -> pathlib.Path:
    """Fetches the test's archive into a cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAE_JAX_CACHE", str(cache))
        patch.setattr(download, "ANTHEMS_SHA256", SHA256)
        patch.setattr(download, "ANTHEMS_BYTES", len(CONTENT))
        return fetch_anthems(url)


def test_a_good_file_is_put_into_the_cache(server: Server, tmp_path: pathlib.Path):
    path = fetch(server.url("good"), tmp_path / "new" / "cache")
    assert path == tmp_path / "new" / "cache" / "NationalAnthems.zip"
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


def test_a_cached_file_is_used_without_a_request(server: Server, tmp_path: pathlib.Path):
    fetch(server.url("good"), tmp_path)
    assert fetch(server.url("good"), tmp_path).read_bytes() == CONTENT
    assert server.requests == ["/good"]


def test_a_damaged_cached_file_is_replaced(server: Server, tmp_path: pathlib.Path):
    (tmp_path / "NationalAnthems.zip").write_bytes(CONTENT[:-1])
    assert fetch(server.url("good"), tmp_path).read_bytes() == CONTENT
    assert server.requests == ["/good"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("wrong", "wrong sha256"),
        ("truncated", "wrong sha256|IncompleteRead"),
        ("endless", "wrong sha256"),
        ("missing", "Not Found"),
        ("silent", "could not be downloaded"),
    ],
)
def test_a_bad_answer_is_refused_and_leaves_nothing(server: Server, tmp_path: pathlib.Path, path: str, reason: str):
    with pytest.raises(UserError, match=reason) as caught:
        fetch(server.url(path), tmp_path)
    assert server.url(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_endless_answer_is_hung_up_on(server: Server, tmp_path: pathlib.Path):
    with pytest.raises(UserError):
        fetch(server.url("endless"), tmp_path)
    assert server.hung_up.wait(20)
    assert server.num_sent < 2**25  # What the buffers between the two ends hold comes on top of the file's size.


def test_a_bad_answer_does_not_touch_what_is_in_the_cache(server: Server, tmp_path: pathlib.Path):
    (tmp_path / "NationalAnthems.zip").write_bytes(b"older")
    with pytest.raises(UserError):
        fetch(server.url("wrong"), tmp_path)
    assert (tmp_path / "NationalAnthems.zip").read_bytes() == b"older"


def test_a_refused_connection_is_told_in_one_line(refused_url: str, tmp_path: pathlib.Path):
    with pytest.raises(UserError, match="could not be downloaded from http://127") as caught:
        fetch(refused_url, tmp_path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "url", ["", "garcia-nacho.github.io/x.zip", "ftp:/", "http://[", "http://a b/", "file:///no.zip"]
)
def test_an_address_that_is_none_is_told_in_one_line(url: str, tmp_path: pathlib.Path):
    with pytest.raises(UserError) as caught:
        fetch(url, tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_cache_that_cannot_be_written_is_told(server: Server, tmp_path: pathlib.Path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match="cannot be written"):
        fetch(server.url("good"), tmp_path / "file" / "cache")


def test_the_published_archive_is_the_one_at_hand(anthems: pathlib.Path):
    data = anthems.read_bytes()
    assert len(data) == download.ANTHEMS_BYTES
    assert hashlib.sha256(data).hexdigest() == download.ANTHEMS_SHA256


def test_without_a_path_the_cached_anthems_are_used(anthems: pathlib.Path, user_cache: pathlib.Path, refused_url: str):
    user_cache.mkdir()
    shutil.copy(anthems, user_cache / "NationalAnthems.zip")
    found = corpus.find_source(DataConfig(url=refused_url), allow_chorales=False)
    assert (found.name, len(found.files)) == ("NationalAnthems.zip", 135)


@pytest.mark.usefixtures("user_cache")
def test_without_a_network_the_chorales_are_used_with_one_warning(refused_url: str, capsys: pytest.CaptureFixture[str]):
    found = corpus.find_source(DataConfig(url=refused_url), allow_chorales=True)
    assert (found.name, len(found.files)) == ("chorales", 364)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: the national anthems could not be downloaded from http://127.0.0.1")
    assert line.endswith("using the Bach chorales that music21 ships instead")


@pytest.mark.usefixtures("user_cache")
def test_without_a_network_and_the_chorales_there_is_none(refused_url: str):
    with pytest.raises(UserError, match=r"--config\.data\.path=FOLDER_OR_ZIP"):
        corpus.find_source(DataConfig(url=refused_url), allow_chorales=False)
