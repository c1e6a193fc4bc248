"""How well does the embedded analyst class requirements that it has never seen?

    python bench/analyst.py [nfr.csv] [--errors]

Reads a CSV with the columns ProjectID, RequirementText, class (the "NFR" data set of the tera-PROMISE repository).
The lexicon was only ever adjusted by looking at projects with an odd ProjectID; the held-out figures are those with an
even one. ``--errors`` lists mistakes of the odd projects only, so that nobody tunes on the others by accident.
"""

import argparse
import csv
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "platform")]

from agora.language.embedded import EmbeddedAnalyst  # noqa: E402  # after the path
from agora.language.ports import Candidate, Passage  # noqa: E402
from domains.loader import load_domain  # noqa: E402

DEFAULT = ROOT.parent / "shared" / "data" / "requirements" / "nfr.csv"
MAPPING = {
    "F": "requirements",
    "US": "requirements",
    "LF": "requirements",
    "A": "disaster_recovery",
    "FT": "disaster_recovery",
    "PE": "performance",
    "SC": "scalability",
    "SE": "security",
    "O": "tech_stack",
    "PO": "tech_stack",
}
"""Classes of the data set to our categories. L (legal) and MN (maintainability) have none and are left out of F1."""


@dataclass(frozen=True)
class Row:
    project: int
    text: str
    label: str

    @property
    def held_out(self) -> bool:
        return self.project % 2 == 0


def read(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", errors="replace", newline="") as stream:
        return [
            Row(int(line["ProjectID"]), line["RequirementText"].strip().strip("'").strip(), line["class"])
            for line in csv.DictReader(stream)
        ]


def passages(rows: Sequence[Row]) -> list[Passage]:
    found: list[Passage] = []
    start = 0
    for index, row in enumerate(rows):
        found.append(Passage(index=index, text=row.text, start=start, end=start + len(row.text)))
        start += len(row.text) + 2
    return found


def best(candidates: Sequence[Candidate], passage: Passage) -> Candidate | None:
    """The requirement's first candidate: some rows hold several sentences."""
    inside = [c for c in candidates if c.span and passage.start <= c.span.start < passage.end]
    return inside[0] if inside else None


def judge(analyst: EmbeddedAnalyst, rows: Sequence[Row]) -> list[tuple[Row, Candidate | None]]:
    """Every project is read alone, as a document of its own would be."""
    projects: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        projects[row.project].append(row)
    pairs: list[tuple[Row, Candidate | None]] = []
    for members in projects.values():
        blocks = passages(members)
        candidates = analyst.extract(blocks)
        pairs.extend((row, best(candidates, block)) for row, block in zip(members, blocks, strict=True))
    return pairs


def report(title: str, pairs: Sequence[tuple[Row, Candidate | None]]) -> None:
    found = sum(1 for _, candidate in pairs if candidate)
    mapped = [(MAPPING[row.label], c.category if c else "none") for row, c in pairs if row.label in MAPPING]
    projects = {row.project for row, _ in pairs}
    print(f"\n{title}: {len(pairs)} requirements of {len(projects)} projects, recognised {found / len(pairs):.3f}")
    print(f"{'category':<20}{'n':>5}{'precision':>11}{'recall':>9}{'F1':>7}")
    scores: list[float] = []
    for name in dict.fromkeys(MAPPING.values()):
        true = sum(1 for want, got in mapped if want == got == name)
        wanted, given = (sum(1 for pair in mapped if pair[side] == name) for side in (0, 1))
        precision, recall = true / given if given else 0.0, true / wanted if wanted else 0.0
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        scores.append(f1)
        print(f"{name:<20}{wanted:>5}{precision:>11.3f}{recall:>9.3f}{f1:>7.3f}")
    accuracy = sum(1 for want, got in mapped if want == got) / len(mapped)
    binary = [(want != "requirements", got != "requirements") for want, got in mapped]
    true = sum(1 for want, got in binary if want and got)
    quality = 2 * true / (sum(w for w, _ in binary) + sum(g for _, g in binary))
    print(
        f"macro F1 {sum(scores) / len(scores):.3f}, accuracy {accuracy:.3f}, quality against function F1 {quality:.3f}"
    )


def errors(pairs: Sequence[tuple[Row, Candidate | None]]) -> None:
    counts: Counter[tuple[str, str]] = Counter()
    for row, candidate in pairs:
        want, got = MAPPING.get(row.label), candidate.category if candidate else "none"
        if want and want != got:
            counts[want, got] += 1
            print(f"{row.label} {want} -> {got}: {row.text} [{candidate.reasoning if candidate else ''}]")
    for (want, got), count in counts.most_common(20):
        print(f"{count:>4} {want} -> {got}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("path", nargs="?", type=Path, default=DEFAULT)
    parser.add_argument("--errors", action="store_true", help="list mistakes of the odd projects")
    options = parser.parse_args()
    if not options.path.is_file():
        print(f"{options.path}: no such file; give the path of nfr.csv", file=sys.stderr)
        return 2
    rows = read(options.path)
    analyst = EmbeddedAnalyst(load_domain("base").lexicon)
    started = time.perf_counter()
    pairs = judge(analyst, rows)
    spent = time.perf_counter() - started
    if options.errors:
        errors([pair for pair in pairs if not pair[0].held_out])
    report("looked at while tuning (odd ProjectID)", [pair for pair in pairs if not pair[0].held_out])
    report("held out (even ProjectID)", [pair for pair in pairs if pair[0].held_out])
    print(f"\n{len(rows)} requirements in {spent * 1000:.0f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
