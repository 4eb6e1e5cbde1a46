"""Finding plugins by entry point, in a way that survives a broken one."""

import difflib
import importlib.util
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from tunebridge import hookspecs
from tunebridge.backend import Backend, BackendInfo
from tunebridge.data.reading.readers import Reader
from tunebridge.data.targets import Target
from tunebridge.errors import BackendNotFound, MissingDependency
from tunebridge.job import Event, Job
from tunebridge.plan import Plan

ALLOW_LIST = "TUNEBRIDGE_PLUGINS"
"""Environment variable: names of the plugins to load, separated by commas; empty loads none, unset all."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that could not be loaded, and why."""

    name: str
    reason: str


@dataclass
class Plugins:
    """The loaded plugins; each hook is a typed method here."""

    manager: pluggy.PluginManager
    broken: list[BrokenPlugin] = field(default_factory=list)

    def register(self, plugin: object, name: str) -> None:
        """Register one plugin; a mistyped hook or a broken one is kept in `broken` instead."""
        if self.manager.is_registered(plugin):
            return  # two entry points may name one module
        try:
            self.manager.register(plugin, name)
            self.manager.check_pending()
            _ = [info.name for info in self._backends_of(plugin)]
        except Exception as error:  # a third party's code may raise anything, and must not stop the others
            self.manager.unregister(plugin) if self.manager.is_registered(plugin) else None
            self.broken.append(BrokenPlugin(name, f"{type(error).__name__}: {error}"))

    def backends(self) -> dict[str, BackendInfo]:
        """Return the backends by name, sorted; where two plugins bring one name, the first registered wins."""
        found: dict[str, BackendInfo] = {}
        for name, plugin in self.manager.list_name_plugin():
            for info in self._backends_of(plugin):
                if info.name in found:
                    self._note(name, f"brings the backend {info.name!r}, which another plugin already brings")
                else:
                    found[info.name] = info
        return dict(sorted(found.items()))

    def backend(self, name: str) -> BackendInfo:
        """Return one backend's description; BackendNotFound names the nearest one."""
        known = self.backends()
        if name in known:
            return known[name]
        broken = next((b for b in self.broken if name in b.name), None)
        if broken:
            raise BackendNotFound(
                f"The plugin for {name!r} could not be loaded: {broken.reason}. See `tunebridge backends`."
            )
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise BackendNotFound(
            f"There is no backend {name!r}.{hint} Installed are: {', '.join(known) or 'none'}. "
            f"Choose one of them, or install the plugin that brings it."
        )

    def open(self, name: str) -> Backend:
        """Return a backend ready for work; planning with it needs no SDK."""
        return self.backend(name).load()()

    def readers(self) -> list[Reader]:
        """Return the readers that plugins bring; a plugin that fails to is noted in `broken`."""
        return self._collect(self.manager.hook.tunebridge_dataset_readers)

    def targets(self, backend: str | None = None) -> list[Target]:
        """Return the shapes of row that services take, all or one backend's; a failing plugin is noted in `broken`."""
        found: list[Target] = self._collect(self.manager.hook.tunebridge_dataset_targets)
        return [target for target in found if backend in (None, target.backend)]

    def _collect(self, hook: pluggy.HookCaller) -> list[Any]:
        found: list[Any] = []
        for call in hook.get_hookimpls():
            try:
                brought: Any = call.function()
                found += brought
            except Exception as error:  # a third party's code may raise anything, and must not stop the others
                self._note(call.plugin_name, f"{type(error).__name__}: {error}")
        return found

    def check_plan(self, plan: Plan) -> None:
        """Let every policy look at a plan; the first error stops the submit."""
        self.manager.hook.tunebridge_check_plan(plan=plan)

    def job_changed(self, job: Job, event: Event) -> None:
        """Tell every observer; one that fails is logged and the others still hear."""
        for call in self.manager.hook.tunebridge_job_changed.get_hookimpls():
            try:
                arguments = {"job": job, "event": event}
                call.function(*(arguments[name] for name in call.argnames))
            except Exception:  # an observer must never hurt a job
                logger.warning("observer %s failed on job %s", call.plugin_name, job.id, exc_info=True)

    def _backends_of(self, plugin: object) -> Iterable[BackendInfo]:
        hook = getattr(plugin, "tunebridge_backends", None)
        return hook() if hook else ()

    def _note(self, plugin: str, reason: str) -> None:
        if (broken := BrokenPlugin(plugin, reason)) not in self.broken:
            self.broken.append(broken)


def missing_requirement(info: BackendInfo) -> str | None:
    """Return the first package that the backend needs and that is not installed, without importing any."""
    return next((name for name in info.requires if not _is_there(name)), None)


def _is_there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # the package that it would lie in is not there either
        return False


def require_installed(info: BackendInfo) -> None:
    """Raise MissingDependency, with the command that installs it, when a package is missing."""
    missing = missing_requirement(info)
    if missing:
        raise MissingDependency(missing, backend=info.name, extra=info.extra)


def empty() -> Plugins:
    """Return a registry without any plugin."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return Plugins(manager)


@cache
def discover() -> Plugins:
    """Load every allowed plugin of the entry-point group `tunebridge`, once per process."""
    plugins = empty()
    for entry in sorted(_allowed(entry_points(group=hookspecs.PROJECT)), key=lambda e: e.name):
        try:
            plugin = entry.load()
        except (Exception, SystemExit) as error:  # an import may raise anything
            plugins.broken.append(BrokenPlugin(entry.name, f"{type(error).__name__}: {error}"))
        else:
            plugins.register(plugin, entry.name)
    return plugins


def _allowed(entries: Iterable[EntryPoint]) -> list[EntryPoint]:
    names = os.environ.get(ALLOW_LIST)
    if names is None:
        return list(entries)
    wanted = {name.strip() for name in names.split(",")}
    return [entry for entry in entries if entry.name in wanted]
