"""The manual pages hold every flag and command of the programs, and are well formed."""

import re
import subprocess

import pytest

from installed import BUILD
from system_support import COMMAND_LINE, SERVER

PAGES = {"thermograd-server.8": SERVER, "thermograd.1": COMMAND_LINE}


def _page(name):
    return BUILD / "deploy/packaging" / name


def _help(*command):
    # Abseil's exit code of --help depends on its version.
    return subprocess.run(
        [*command, "--help"], stdout=subprocess.PIPE, text=True, check=False
    ).stdout


def _words(name):
    """The page as it is shown, line breaks and hyphenation taken back."""
    shown = subprocess.run(
        ["mandoc", "-Tascii", "-Owidth=400", _page(name)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    return re.sub(r"\s+", " ", re.sub(".\b", "", shown))


@pytest.mark.parametrize("name", PAGES)
def test_mandoc_has_no_complaint(name):
    # Style is left out: it objects to lines as long as --help makes them.
    ended = subprocess.run(
        ["mandoc", "-Tlint", "-Wwarning", _page(name)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout


def test_the_server_s_page_has_every_flag_with_default_and_text():
    page = _words("thermograd-server.8")
    help_page = _help(SERVER)
    names = re.findall(r"^ +--(\w+) \(", help_page, re.M)
    assert len(names) > 10
    for name in names:
        assert f" --{name}=" in page or f" --{name} " in page, name
    for text in re.findall(r"\((Most .*?|Series .*?)\); default", help_page):
        assert text in page


def test_the_command_s_page_has_every_command_and_flag():
    page = _words("thermograd.1")
    own = re.findall(r"^  ([a-z]+) +(\S.*)$", _help(COMMAND_LINE), re.M)
    assert len(own) > 5
    for command, summary in own:
        assert f" {command} {summary}" in page
        if "Python package" in summary:
            continue
        section = page[page.index(f" {command} {summary}") :]
        flags = re.findall(r"^  (--\S+)", _help(COMMAND_LINE, command), re.M)
        assert flags
        for flag in flags:
            assert f" {flag} " in section, (command, flag)
