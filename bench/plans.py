"""The plans with which Postgres really runs statements: ``auto_explain`` of each connection, told as notices.

A plan so shown is that of the statement as our pool sent it, prepared and generic where it has come to that.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg.errors import Diagnostic
from sqlalchemy import event

from agora.db import engines

SETTINGS = {
    "auto_explain.log_min_duration": "0", "auto_explain.log_analyze": "on", "auto_explain.log_buffers": "on",
    "auto_explain.log_timing": "off", "auto_explain.log_format": "json", "auto_explain.log_level": "notice",
    "auto_explain.log_nested_statements": "on", "auto_explain.log_parameter_max_length": "0",
}  # fmt: skip
WALKS = {"Index Scan", "Index Only Scan", "Seq Scan", "Bitmap Heap Scan", "Bitmap Index Scan", "Tid Scan"}


@dataclass(frozen=True, slots=True)
class Plan:
    """A statement as it was run once."""

    statement: str
    root: Mapping[str, Any]

    def nodes(self) -> Iterator[Mapping[str, Any]]:
        """Every node of the plan."""
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += node.get("Plans", ())

    @property
    def buffers(self) -> int:
        """Pages of 8 kB that its scans and writes looked at, each look counted."""
        return sum(_own(node) for node in self.nodes() if _touches_a_table(node))

    @property
    def rows(self) -> int:
        """Rows and index entries that its scans went over, also those that a filter threw away."""
        return sum(_walked(node) for node in self.nodes() if node["Node Type"] in WALKS)

    def text(self) -> str:
        """The plan as EXPLAIN shows it, in short."""
        return "\n".join(_lines(self.root, 0))


def _touches_a_table(node: Mapping[str, Any]) -> bool:
    return node["Node Type"] in WALKS | {"ModifyTable", "LockRows"}


def _pages(node: Mapping[str, Any]) -> int:
    return node.get("Shared Hit Blocks", 0) + node.get("Shared Read Blocks", 0)


def _own(node: Mapping[str, Any]) -> int:
    return max(0, _pages(node) - sum(_pages(child) for child in node.get("Plans", ())))


def _walked(node: Mapping[str, Any]) -> int:
    thrown = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
    found = node.get("Actual Rows", 0) + sum(node.get(name, 0) for name in thrown)
    return round(found * node.get("Actual Loops", 0))


def _lines(node: Mapping[str, Any], depth: int) -> Iterator[str]:
    name = " ".join(filter(None, [node.get("Operation") if node["Node Type"] == "ModifyTable" else node["Node Type"]]))
    where = " ".join(f"{word} {node[key]}" for word, key in WHERE.items() if key in node)
    label = f"{node['Subplan Name']}: " if "Subplan Name" in node else ""
    done = "" if node.get("Actual Loops", 0) else "  (never executed)"
    if node.get("Actual Loops", 0):
        done = f"  (rows={node['Actual Rows']:g} loops={node['Actual Loops']} buffers={_pages(node)})"
    yield f"{'  ' * depth}{label}{name} {where}".rstrip() + done
    for key in ("Index Cond", "Filter"):
        if key in node:
            yield f"{'  ' * depth}  {key}: {node[key]}"
    for child in node.get("Plans", ()):
        yield from _lines(child, depth + 1)


NONE: Mapping[str, str] = {}
WHERE = {"using": "Index Name", "on": "Relation Name", "of": "CTE Name"}


@contextmanager
def watched(
    *, generic: bool = False, settings: Mapping[str, str] = NONE, database: engines.Database = "main"
) -> Iterator[list[Plan]]:  # fmt: skip
    """While the block lasts, every statement of a database's fresh pool leaves its plan in this list.

    With ``generic`` it is the plan for any values, to which Postgres may come once a statement has been run often.
    ``settings`` are Postgres' own, for these connections.
    """
    found: list[Plan] = []

    def hear(notice: Diagnostic) -> None:
        told = re.match(r"duration: [\d.]+ ms\s+plan:\s*(.*)", notice.message_primary or "", re.DOTALL)
        if told:
            made = json.loads(told[1])
            found.append(Plan(" ".join(made["Query Text"].split()), made["Plan"]))

    def begin(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("LOAD 'auto_explain'")
        mode = {"plan_cache_mode": "force_generic_plan"} if generic else {}
        for name, value in {**SETTINGS, **mode, **settings}.items():
            cursor.execute(f"SET {name} = '{value}'".encode())
        connection.commit()
        connection.add_notice_handler(hear)
        if generic:
            connection.prepare_threshold = 0

    engines.dispose_all()
    event.listen(engines.engine(database), "connect", begin)
    try:
        yield found
    finally:
        engines.dispose_all()
