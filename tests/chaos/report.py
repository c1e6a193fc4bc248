"""The page of a run: seed, figures, recovery times, findings."""

from collections import Counter, defaultdict

from tests.chaos.faults import FAULTS
from tests.chaos.figures import absences, recoveries, resumptions, spread
from tests.chaos.judge import LOOKS


def write(path, result):
    """Write the page."""
    path.write_text("\n".join(page(result)) + "\n")


def page(result):
    """Its lines."""
    yield from head(result)
    yield from verdict(result)
    yield from resumption(result)
    yield from table(result)
    yield from not_run(result)


def head(result):
    options, seen = result.options, result.seen
    done = [entry for entry in seen.log if not entry.not_run]
    alone = sum(entry.alone for entry in done)
    ends = Counter(job.status for job in seen.jobs)
    yield "# A long run of the fault harness"
    yield ""
    yield (
        f"`make chaos JOBS={options.jobs} FAULTS={options.faults} SEED={options.seed}`: seed {options.seed}, "
        f"{len(seen.accepted)} jobs accepted, {len(done)} faults ({alone} alone, {len(done) - alone} mixed), "
        f"{result.seconds / 60:.1f} minutes, leases of {options.scale.env.get('AGORA_LEASE_SECONDS', '10')} s."
    )
    yield ""
    yield (
        f"{len(seen.moves)} moves of state, {len(seen.ledger)} ledger lines, {len(seen.hooks)} webhooks and "
        f"{len(seen.samples)} answers of the API were judged. Ends: "
        f"{', '.join(f'{count} {status}' for status, count in sorted(ends.items()))} (poison fails by design). "
        f"The last job and webhook were settled {result.settled:.1f} s after the last fault and submit."
    )
    yield ""


def verdict(result):
    counts = Counter(finding.kind for finding in result.findings)
    yield "| what must not be | found |"
    yield "| --- | ---: |"
    for kind, look in LOOKS.items():
        yield f"| {kind}: {look.__doc__.splitlines()[0].rstrip('.').lower()} | {counts[kind]} |"
    yield ""
    for finding in result.findings[:20]:
        yield f"- {finding.kind}: {finding.what}"
    if result.findings:
        yield ""


def resumption(result):
    for alone, which in (
        (True, "of kills that came alone"),
        (False, "of all kills, whatever else was broken meanwhile"),
    ):
        found = spread(resumptions(result.seen, alone=alone))
        if found:
            yield (
                f"From the kill of a worker to the next try of each step that it held, {which} ({found.count} steps): "
                f"median {found.p50:.1f} s, p99 {found.p99:.1f} s, longest {found.longest:.1f} s."
            )
            yield ""


def table(result):
    times, recovered, away = defaultdict(int), recoveries(result.seen), absences(result.seen)
    for entry in result.seen.log:
        times[entry.fault.name] += not entry.not_run
    yield "Recovery is from the end of the fault to the next step recorded; absence from its beginning to the API's"
    yield "first answer after the last that failed. Other faults of the mix are in both."
    yield ""
    yield "| fault | lasts | times | recovery, median | longest | API away, longest |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for name in sorted(times):
        fault, found = FAULTS[name], spread(recovered[name])
        lasts = f"{fault.seconds(result.options.scale):g} s" if fault.lasts != "instant" else ""
        gone = f"{max(away[name]):.1f} s" if away.get(name) else ""
        median, longest = (f"{found.p50:.2f} s", f"{found.longest:.2f} s") if found else ("", "")
        yield f"| {name} | {lasts} | {times[name]} | {median} | {longest} | {gone} |"
    yield ""


def not_run(result):
    missing = [entry for entry in result.seen.log if entry.not_run]
    if missing:
        yield "Not run:"
        yield ""
        for entry in missing:
            yield f"- {entry.fault.name} ({entry.target}): {entry.not_run}"
