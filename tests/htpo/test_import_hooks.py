# Copyright 2026 The verl-htpo authors
# SPDX-License-Identifier: Apache-2.0
"""A hook runs once, after the module's code, and the module looks as if nothing had happened."""

import importlib
import importlib.util
import shutil
import sys
import uuid

import pytest

from recipe.htpo.import_hooks import _finder, after_import, after_import_of_each


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Name and file of a module that can be imported and is not yet."""
    name = f"hooked_{uuid.uuid4().hex}"
    path = tmp_path / f"{name}.py"
    path.write_text("value = 1\nseen = list(globals())\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield name, path
    sys.modules.pop(name, None)


def test_the_hook_runs_once_after_the_module(module):
    name, path = module
    calls = []
    after_import(name, lambda found: calls.append((found.__name__, found.value)))
    assert name not in sys.modules
    found = importlib.import_module(name)
    importlib.import_module(name)
    assert calls == [(name, 1)]
    importlib.reload(found)
    assert calls == [(name, 1)]
    # importlib.resources, inspect and pickling ask the module's own loader.
    assert found.__loader__ is found.__spec__.loader
    assert found.__loader__.get_source(name) == path.read_text()


def test_several_hooks_run_in_order(module):
    name, _ = module
    calls = []
    for number in range(3):
        after_import(name, lambda _, number=number: calls.append(number))
    importlib.import_module(name)
    assert calls == [0, 1, 2]


def test_a_module_that_is_there_already(module):
    name, _ = module
    found = importlib.import_module(name)
    calls = []
    after_import(name, calls.append)
    assert calls == [found]


def test_from_within_the_module_the_hook_waits_for_its_end(module):
    """verl loads the plugin while `verl` is half imported."""
    name, path = module
    path.write_text(
        "from recipe.htpo.import_hooks import after_import\n"
        "calls = []\n"
        f"after_import({name!r}, lambda module: calls.append(hasattr(module, 'end')))\n"
        "end = True\n"
    )
    found = importlib.import_module(name)
    assert found.calls != [False]


def test_a_spec_that_is_looked_for_and_an_import_that_fails_leave_the_hook(module):
    name, path = module
    calls = []
    after_import(name, calls.append)
    assert importlib.util.find_spec(name) is not None
    whole = path.read_text()
    path.write_text("raise OSError\n")
    with pytest.raises(OSError):
        importlib.import_module(name)
    path.write_text(whole)
    importlib.invalidate_caches()
    shutil.rmtree(path.with_name("__pycache__"), ignore_errors=True)
    assert calls == []
    assert [importlib.import_module(name)] == calls


def test_an_exception_in_the_hook_fails_the_import(module):
    name, _ = module

    def fail(_):
        raise RuntimeError("no such thing in this version")

    after_import(name, fail)
    with pytest.raises(RuntimeError, match="no such thing"):
        importlib.import_module(name)
    assert name not in sys.modules


def test_a_module_that_does_not_exist_stays_missing():
    after_import("hooked_nowhere", lambda module: None)
    with pytest.raises(ModuleNotFoundError, match="hooked_nowhere"):
        importlib.import_module("hooked_nowhere")


def test_a_submodule(tmp_path, monkeypatch):
    package = tmp_path / f"package_{uuid.uuid4().hex}"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "part.py").write_text("value = 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    calls = []
    after_import(f"{package.name}.part", lambda found: calls.append(found.value))
    importlib.import_module(package.name)
    assert calls == []
    importlib.import_module(f"{package.name}.part")
    assert calls == [2]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Name of a package with the modules `first` and `second.third`."""
    name = f"hooked_{uuid.uuid4().hex}"
    (tmp_path / name / "second").mkdir(parents=True)
    for file in ("__init__.py", "first.py", "second/__init__.py", "second/third.py"):
        (tmp_path / name / file).write_text("value = 1\n")
    (tmp_path / f"{name}_other.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    _finder.package_hooks.pop(name, None)
    for module in [module for module in sys.modules if module.startswith(name)]:
        del sys.modules[module]


def test_a_hook_of_each_module_of_a_package(package):
    importlib.import_module(f"{package}.first")
    seen = []
    after_import_of_each(package, lambda found: seen.append(found.__name__))
    # Those that are imported already, at once.
    assert sorted(seen) == [package, f"{package}.first"]
    after_import(f"{package}.second.third", lambda found: seen.append("own hook"))
    importlib.import_module(f"{package}.second.third")
    importlib.import_module(f"{package}_other")
    assert seen[2:] == [f"{package}.second", f"{package}.second.third", "own hook"]
