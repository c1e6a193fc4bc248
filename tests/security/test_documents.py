"""Documents that attack their reader: each ends in a document or a defined error, within bounds of time and memory."""

import json
import os
import subprocess
import sys
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest

from agora.client import Agora, ApiError
from agora.documents import isolated
from agora.documents.errors import DocumentCorrupt, DocumentEncrypted, DocumentError, DocumentTooLong
from agora.documents.isolated import read_isolated
from agora.identity import service as identity
from tests.support import bombs
from tests.support.webhooks import eventually, sql
from tests.support.worker import celery

ROOT = Path(__file__).resolve().parents[2]
SECONDS, MEMORY = 20, 1024**3
"""Of processor time for each, many times what any takes; and bytes of address space for all."""
PATIENCE = 6
"""How often that until all have been read, two at once, by a busy machine."""
MUST = {
    "billion laughs": "document type", "billion laughs, UTF-16": "document type", "quadratic entity": "document type",
    "billion laughs behind a long comment": "document type", "external entity, file": "document type",
    "external entity, http": "document type", "external DTD": "document type",
    "entities in the relations": "document type", "entities in a part of another name": "document type",
    "many small elements": "elements", "many parts": "parts", "two parts of one name": "two parts",
    "very deep": "depth", "one endless text": "too long", "a stream that unpacks": "Limit",
}  # fmt: skip
"""What the error of some says; of the others any end will do that is defined."""
IN_EARNEST = {
    "many small elements": "document-empty", "a cell as high as the world": None, "deep dictionaries": "document-empty",
}  # fmt: skip
"""What ends otherwise with the limits of earnest, or in a process that has read nothing else before."""
READER = """
import json, resource, signal, sys
from agora.documents import docx
from agora.documents.errors import DocumentError
from agora.documents.read import read_document
from tests.support import bombs

seconds, memory = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
docx.MAX_ELEMENTS = 50_000  # less than in earnest, so that this takes less time

def late(*_):
    raise KeyboardInterrupt  # no reader catches this

signal.signal(signal.SIGVTALRM, late)
for name, (file, data) in bombs.by_name().items():
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        end = "read: " + read_document(data, None, file).text[:2000]
    except DocumentError as error:
        end = type(error).__name__ + ": " + str(error)
    except BaseException as error:
        end = "!!! " + type(error).__name__
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    print(json.dumps([name, end]), flush=True)
"""


@pytest.fixture(scope="module")
def ends():
    """How each of them ends, all in one process."""
    command = [sys.executable, "-c", READER, str(SECONDS), str(MEMORY)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=150)
    found = dict(json.loads(line) for line in done.stdout.splitlines())
    assert done.returncode == 0, (list(found)[-1:], done.stderr[-500:])
    return found


def test_every_bomb_ends_in_a_document_or_a_defined_error(ends):
    assert len(ends) > 50
    assert {name: end for name, end in ends.items() if end.startswith("!!!") or "MemoryError" in end} == {}
    assert {name: ends[name] for name, words in MUST.items() if words not in ends[name]} == {}


def test_no_document_reads_files_or_asks_the_network(ends):
    assert not [end for end in ends.values() if "root:" in end]
    assert ends["a cell as wide as the world"] == "read: must"


# --- the process of its own


def test_a_document_is_read_as_here():
    found = read_isolated(bombs.main_part(bombs.paragraph("The shop must be open.")), None, "ä b.docx")
    assert (found.text, found.passages[0].text) == ("The shop must be open.", "The shop must be open.")
    with pytest.raises(DocumentEncrypted):
        read_isolated(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", None, "a.docx")


def test_one_that_takes_too_long_is_given_up():
    with pytest.raises(DocumentTooLong, match="more than 1 seconds"):
        read_isolated(bombs.long_pdf(), None, "a.pdf", seconds=1)


def test_one_that_takes_too_much_memory_is_given_up():
    with pytest.raises((DocumentTooLong, DocumentCorrupt)):
        read_isolated(b"must be open. " * 4_000_000, None, "a.txt", memory=192 * 1024**2)


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """Puts a shell script in the place of the reader's process."""

    def put(script):
        path = tmp_path / "reader"
        path.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\n{script}\n")
        path.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(path))
        return tmp_path / "pid"

    return put


def is_gone(pid):
    try:
        os.kill(int(pid.read_text()), 0)
    except ProcessLookupError:
        return True
    return False


def test_a_reader_that_breaks_down_is_no_end_of_the_worker(reader):
    reader("kill -SEGV $$")
    with pytest.raises(DocumentCorrupt, match="broke down"):
        read_isolated(b"x", None, "a.txt")
    reader("echo Segmentation >&2; exit 3")
    with pytest.raises(RuntimeError, match="Segmentation"):
        read_isolated(b"x" * 1024**2, None, "a.txt")  # more than a pipe holds: nobody reads it


def test_one_that_answers_without_end_is_ended(reader, monkeypatch):
    monkeypatch.setattr(isolated, "TOLD", 1024**2)
    pid = reader("exec yes")
    with pytest.raises(DocumentTooLong, match="more than 1 MiB"):
        read_isolated(b"x", None, "a.txt")
    assert is_gone(pid)


@pytest.mark.parametrize("script", ["exec sleep 60", "exec sleep 60 >&- 2>&-", "exec yes >&2"])
def test_one_that_does_nothing_or_only_complains_is_ended_in_time(reader, monkeypatch, script):
    monkeypatch.setattr(isolated, "PATIENCE", 1)
    pid = reader(script)
    with pytest.raises(DocumentTooLong, match="more than 1 seconds"):
        read_isolated(b"x", None, "a.txt", seconds=1)
    assert is_gone(pid)


def test_of_what_a_reader_complains_the_last_is_kept(reader):
    reader("yes 'a fault' | head -c 100000000 >&2; echo 'the last one' >&2; exit 3")
    tracemalloc.start()
    try:
        with pytest.raises(RuntimeError, match="the last one") as caught:
            read_isolated(b"x", None, "a.txt")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < isolated.COMPLAINED + 100
    assert peak < 2 * 1024**2


def test_a_document_that_says_a_heading_again_and_again_is_given_up():
    data = "# " + "The shop must be open. " * 10_000 + "\n\n" + "- It must be.\n" * 2_000
    with pytest.raises(DocumentTooLong, match="128 MiB"):
        read_isolated(data.encode(), None, "a.md")


def test_what_a_reader_complains_of_does_not_fill_its_worker(monkeypatch):
    run, said = isolated._run, []

    def noted(*arguments):
        done = run(*arguments)
        said.append(len(done.stderr))
        return done

    monkeypatch.setattr(isolated, "_run", noted)
    with pytest.raises(DocumentError):
        read_isolated(bombs.by_name()["deep dictionaries"][1], None, "a.pdf")  # 33,000 faults
    assert said == [0]


def test_the_reader_is_told_no_secrets():
    assert set(isolated._environment()) == {
        "PYTHONPATH", "PYTHONUTF8", "PYTHONDONTWRITEBYTECODE", "OPENBLAS_NUM_THREADS",
    }  # fmt: skip


# --- through the platform


@pytest.fixture
def api(db, web):
    """A client of the real server."""
    key = identity.create_key(identity.ensure_team("t"), "k", ["*"]).plain
    with closing(Agora(f"http://127.0.0.1:{web.port}", key)) as made:
        yield made


@pytest.fixture
def worker(db):
    """The worker that documents are read by, as it is run."""
    with celery(queues="cpu", pool="prefork") as process:
        yield process


def submit(api, file, data):
    """The id of a job that reads the file."""
    return api.submit("context_analyzer", "extract", {"file_id": api.upload(data, file)["id"]})["id"]


def code_of(end):
    """The code of the error with which a document ended in this process; None where it was read."""
    kinds = {kind.__name__: kind.slug for kind in DocumentError.__subclasses__()}
    return kinds.get(end.partition(":")[0])


def uploaded():
    """Those whose error says something, and of the others, which end as any document may, each third."""
    every = bombs.by_name()
    telling = {"a run of one byte", *MUST, *IN_EARNEST}
    others = [name for name in every if name not in telling]
    return {name: bomb for name, bomb in every.items() if name in telling or name in others[::3]}


def test_no_bomb_ends_the_worker_and_each_is_tried_once(ends, api, worker):
    """Uploaded to the real server and read by one real worker, which then reads a good document."""
    eventually(lambda: any(one["agent"] == "context_analyzer" for one in api.agents()), seconds=60)
    [[worker_id, pid]] = [list(row.values()) for row in sql("SELECT id, pid FROM workers")]
    jobs, refused = {}, {}
    for name, (file, data) in uploaded().items():
        try:
            jobs[name] = submit(api, file, data)
        except ApiError as error:
            refused[name] = error.code
    good = submit(api, "good.docx", bombs.main_part(bombs.paragraph("The shop must be open at nine.")))
    ended = {name: api.wait(job, SECONDS * PATIENCE) for name, job in jobs.items()}
    read = api.wait(good, SECONDS)

    assert refused == {"a run of one byte": "too-large"}
    found = {name: (job["error"] or {}).get("code") for name, job in ended.items()}
    assert len(found) > len(MUST)
    assert found == {name: code_of(ends[name]) for name in jobs} | IN_EARNEST
    assert (read["status"], len(read["output"]["specifications"])) == ("succeeded", 1)
    assert (worker.poll(), pid) == (None, worker.pid)
    tries = sql("SELECT step_id, worker_id, number, outcome FROM attempts")
    assert {row["worker_id"] for row in tries} == {worker_id}
    assert {row["number"] for row in tries} == {1}
    assert len(tries) == len({row["step_id"] for row in tries})
