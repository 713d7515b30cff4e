"""Whose a module is: the caller's, Python's, or an installed distribution's."""

import json
import sysconfig
from pathlib import Path

import numpy
import PIL
import pytest

import seppo
from seppo.shipping.origin import Distribution, distribution_of, is_own, is_standard


@pytest.mark.parametrize("module", [json, json.decoder, numpy, numpy.linalg, PIL, pytest, seppo])
def test_what_is_installed_or_pythons_or_seppos_is_not_own(module):
    assert not is_own(module.__name__, module.__file__)


def test_this_module_is_own():
    assert is_own(__name__, __file__)


def test_a_file_beside_the_script_is_own_and_its_extension_module_is_not(tmp_path):
    assert is_own("mine", str(tmp_path / "mine.py"))
    assert is_own("mine.sub", str(tmp_path / "mine" / "sub" / "__init__.py"))
    assert not is_own("mine", str(tmp_path / "mine.so"))
    assert not is_own("mine", "<frozen mine>")
    assert not is_own("__main__", str(tmp_path / "mine.py"))


def test_distributions_are_found_where_they_lie(tmp_path):
    info = tmp_path / "Some_Thing-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Some.Thing\n")
    (info / "RECORD").write_text("thing/__init__.py,sha256=x,1\nthing/a.py,,\nalone.py,,\n")
    thing = Distribution("Some.Thing", "2.0")
    assert distribution_of("thing", str(tmp_path / "thing" / "__init__.py")) == thing
    assert distribution_of("thing.a", str(tmp_path / "thing" / "a.py")) == thing
    assert distribution_of("alone", str(tmp_path / "alone.py")) == thing
    # What nobody lists is the caller's, also in the same folder and package.
    assert distribution_of("thing.b", str(tmp_path / "thing" / "b.py")) is None
    assert is_own("other", str(tmp_path / "other.py"))


def test_a_file_that_was_put_into_site_packages_is_own():
    site = sysconfig.get_paths()["purelib"]
    assert is_own("put_there_by_hand", str(Path(site) / "put_there_by_hand.py"))


def test_an_editable_install_is_own(tmp_path):
    # Its metadata lies elsewhere, and what setuptools leaves beside it lists sources only.
    info = tmp_path / "project.egg-info"
    info.mkdir()
    (info / "SOURCES.txt").write_text("project/__init__.py\n")
    (info / "top_level.txt").write_text("project\n")
    assert is_own("project", str(tmp_path / "project" / "__init__.py"))


def test_an_egg_that_pip_has_installed_is_not_own(tmp_path):
    info = tmp_path / "egg-1.0-py3.11.egg-info"
    info.mkdir()
    (info / "installed-files.txt").write_text("../egg.py\nPKG-INFO\n")
    assert distribution_of("egg", str(tmp_path / "egg.py")) == Distribution("egg", "1.0")


def test_other_names_than_the_modules():
    assert distribution_of("PIL", PIL.__file__).name.lower() == "pillow"
    assert distribution_of("numpy", numpy.__file__) == Distribution("numpy", numpy.__version__)


@pytest.mark.parametrize("name", ["os", "os.path", "seppo.errors", "__main__", "__mp_main__"])
def test_standard_names(name):
    assert is_standard(name)
