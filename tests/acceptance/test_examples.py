"""Every file in examples/ runs, and its job does what it says."""

import importlib

import pytest

from tests.acceptance.conftest import EXAMPLES

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(running, name, capsys):
    importlib.import_module(name).main(running.api)
    assert capsys.readouterr().out.strip(), "an example shows what it does"
    failed = running.sql(
        "SELECT id, error FROM jobs WHERE agent = %s AND status = 'failed' AND NOT metadata ? 'meant_to_fail'",
        importlib.import_module(name).agent.name,
    )
    assert failed == []
