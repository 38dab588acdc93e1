"""ONNX's node test suite, forward: what of it our ops can express gives what it wants, and the rest is listed."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ringleader.runtime.autograd import OPS

pytest.importorskip("onnx", reason="ONNX's test suite is an oracle: pip install 'ringleader[oracle]'")
from helpers import onnx_unsupported as listed
from helpers.onnx_nodes import NODES, run
from helpers.onnx_nodes.graph import tensor
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the suite computes what it wants with overflows and logarithms of 0
    SUITE: dict[str, Any] = {case.name.removeprefix("test_"): case for case in load_model_tests(kind="node")}


@cache
def outcomes() -> tuple[dict[str, Exception | None], set[str]]:
    """For each case that the adapter has the op types of: what went wrong; and which ops of ours have run."""
    ran: set[str] = set()

    def recording(forward: Any) -> Any:
        def recorded(self: Any, *arrays: Any) -> Any:
            ran.add(self.name)
            return forward(self, *arrays)

        return recorded

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for implementations in OPS.values():
            patch.setattr(implementations["cpu"], "forward", recording(implementations["cpu"].forward))
        errors = {
            name: mistake(case)
            for name, case in SUITE.items()
            if listed.why_no_op(listed.op_types(case)) is None
        }
    return errors, ran


def mistake(case: Any) -> Exception | None:
    """Within the case's own tolerances; dtypes and shapes are exact."""
    try:
        for inputs, wanted in case.data_sets:
            reference = [tensor(array).data for array in wanted]
            Runner.assert_similar_outputs(reference, run(case.model, inputs), case.rtol, case.atol)
    except (Exception, AssertionError) as error:
        return error
    return None


@pytest.mark.parametrize("name", SUITE)
def test_node(name: str) -> None:
    """Skipped: there is no op for it. Expected to fail: there is one, which does not do this."""
    no_op, reason = listed.why_no_op(listed.op_types(SUITE[name])), listed.why_it_fails(name)
    if no_op is not None:
        assert reason is None or reason == no_op, f"{name} is listed, and has op types that are"
        pytest.skip(no_op)
    error = outcomes()[0][name]
    if reason is None:
        if error is not None:
            raise error
    else:
        assert error is not None, f"{name} is listed as not supported ({reason}), but is right"
        pytest.xfail(reason)


def test_every_op_type_is_in_the_adapter_or_on_the_list() -> None:
    known = set(NODES) | set(listed.REASONS)
    in_suite = {op_type for case in SUITE.values() for op_type in listed.op_types(case)}
    assert (in_suite - known, known - in_suite, set(NODES) & set(listed.REASONS)) == (set(), set(), set())


@pytest.mark.parametrize("pattern", listed.CASES)
def test_every_pattern_of_the_list_has_cases(pattern: str) -> None:
    assert any(re.fullmatch(pattern, name) for name in outcomes()[0])


def test_every_op_of_ours_runs_in_a_case_or_is_listed() -> None:
    missing = set(OPS) - outcomes()[1]
    assert missing == set(listed.OURS_ALONE)


def test_the_docs_tell_the_counts() -> None:
    """Which are printed by reason, too: pytest -s -k counts."""
    reasons = Counter(
        listed.why_no_op(listed.op_types(case)) or listed.why_it_fails(name) or "right"
        for name, case in SUITE.items()
    )
    for reason, count in reasons.most_common():
        print(f"{count:5} {reason}")
    docs = (Path(__file__).parents[4] / "docs" / "autograd.md").read_text()
    assert f"{reasons['right']:,} of the {len(SUITE):,} cases" in docs.replace("\n", " ")
