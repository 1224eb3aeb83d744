# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""Run a function once a module has been imported, without importing it ourselves.

verl loads its plugins while `verl` itself is half imported and in every process, so a plugin must not pull in the
trainer or an engine just to register something with it.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

Hook = Callable[[ModuleType], None]


class _PostImportFinder(importlib.abc.MetaPathFinder):
    """Finds the awaited modules with the regular finders and wraps their loader; leaves every other import alone."""

    def __init__(self) -> None:
        self.hooks: dict[str, list[Hook]] = {}
        self.package_hooks: dict[str, Hook] = {}

    def take_hooks(self, module_name: str) -> list[Hook]:
        packages = [hook for package, hook in self.package_hooks.items() if _is_in(module_name, package)]
        return packages + self.hooks.pop(module_name, [])

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self.hooks and not any(_is_in(fullname, package) for package in self.package_hooks):
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _PostImportLoader(spec.loader)
                return spec
        return None


class _PostImportLoader(importlib.abc.Loader):
    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # The module must carry its own loader: importlib.resources and pickling of source look there.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        # Only now: a spec that was merely looked for, or an import that failed, has not used them up.
        for hook in _finder.take_hooks(module.__name__):
            hook(module)


def _is_in(module_name: str, package: str) -> bool:
    return module_name == package or module_name.startswith(package + ".")


def _is_imported(module: ModuleType | None) -> bool:
    return module is not None and not getattr(module.__spec__, "_initializing", False)


_finder = _PostImportFinder()


def _install_finder() -> None:
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def after_import(module_name: str, hook: Hook) -> None:
    """Call `hook(module)` when `module_name` has been executed; at once if it already is imported.

    Args:
        module_name: absolute module name.
        hook: called once with the module. An exception in it fails the import, so nothing is half registered.
    """
    module = sys.modules.get(module_name)
    if module is not None and _is_imported(module):
        hook(module)
        return
    _install_finder()
    _finder.hooks.setdefault(module_name, []).append(hook)


def after_import_of_each(package: str, hook: Hook) -> None:
    """Call `hook(module)` for `package` and every module in it, once each, when it has been executed.

    Args:
        package: absolute name of the package.
        hook: called first, before the hooks of `after_import`; at once for modules that already are imported.
    """
    for name, module in list(sys.modules.items()):
        if _is_in(name, package) and _is_imported(module):
            hook(module)
    _install_finder()
    _finder.package_hooks[package] = hook
