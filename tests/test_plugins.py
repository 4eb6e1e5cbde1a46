"""Discovery survives whatever a plugin does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import fake_client, write_job
from tunebridge import plugins
from tunebridge.hookspecs import hookimpl
from tunebridge.testing.fake import fake_info


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed distributions."""
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins.discover.cache_clear()
    yield tmp_path
    plugins.discover.cache_clear()


def install(site: Path, name: str, code: str) -> None:
    """Install a distribution with one plugin."""
    (site / f"{name}.py").write_text(code)
    folder = site / f"{name}-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[tunebridge]\n{name} = {name}\n")


@pytest.mark.parametrize("code", ["1 / 0", "import no_such_package", "def", "raise SystemExit('bye')"])
def test_a_plugin_that_explodes_is_listed_and_the_others_work(code: str, site: Path) -> None:
    install(site, "exploding_plugin", code)
    found = plugins.discover()
    assert [broken.name for broken in found.broken] == ["exploding_plugin"]
    assert "local" in found.backends()


def test_the_allow_list_keeps_a_plugin_from_being_imported(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(site, "exploding_plugin", "1 / 0")
    monkeypatch.setenv(plugins.ALLOW_LIST, "local, another")
    found = plugins.discover()
    assert found.broken == []
    assert list(found.backends()) == ["local"]


def bringing(folder: Path) -> object:
    """Return a plugin that brings the fake backend."""

    class Plugin:
        @hookimpl
        def tunebridge_backends(self) -> list[Any]:
            return [fake_info(folder)]

    return Plugin()


def test_of_two_backends_of_one_name_the_first_counts(tmp_path: Path) -> None:
    found = plugins.empty()
    for name in ("first", "second"):
        found.register(bringing(tmp_path / name), name)
    assert list(found.backends()) == ["fake"]
    assert [broken.name for broken in found.broken] == ["second"]
    assert "already" in found.broken[0].reason


def test_one_module_under_two_names_stays(tmp_path: Path) -> None:
    found, plugin = plugins.empty(), bringing(tmp_path)
    found.register(plugin, "first")
    found.register(plugin, "second")
    assert list(found.backends()) == ["fake"]


def test_readers_that_explode_are_listed(tmp_path: Path) -> None:
    class Exploding:
        @hookimpl
        def tunebridge_dataset_readers(self) -> list[Any]:
            raise RuntimeError("boom")

    client = fake_client(tmp_path)
    client.plugins.register(Exploding(), "exploding")
    assert client.plan(write_job(tmp_path)).backend == "fake"
    assert [broken.name for broken in client.plugins.broken] == ["exploding"]
