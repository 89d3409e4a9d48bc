"""What the store holds survives, is changed once, and tells when it was tampered with; on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text, update

from halfmax.errors import DataError, ModelFileError, UnknownNameError
from halfmax.serve.settings import ServeSettings
from halfmax.serve.store.audit import Audit
from halfmax.serve.store.database import Database
from halfmax.serve.store.files import Files
from halfmax.serve.store.queue import MOST_ATTEMPTS, Queue
from halfmax.serve.store.registry import PredictorStore
from halfmax.serve.store.store import Store
from halfmax.serve.store.tables import audit, metadata
from halfmax.serve.store.tokens import Tokens


def postgres_programs() -> Path | None:
    """Return the folder of initdb and pg_ctl, or None."""
    found = shutil.which("pg_ctl")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((f for f in folders if (f / "initdb").exists() and (f / "pg_ctl").exists()), None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Start a PostgreSQL of our own on a socket in a temporary folder, and return its URL."""
    pytest.importorskip("psycopg")
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="halfmax-pg-"))  # not pytest's, which only its user may enter
    user: list[str] = []
    if os.geteuid() == 0:  # the server refuses to run as root
        if shutil.which("setpriv") is None:
            pytest.skip("PostgreSQL does not run as root, and there is no setpriv")
        user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        os.chown(folder, 65534, 65534)
    data = folder / "data"
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
    environment = {**os.environ, "HOME": str(folder)}
    start = [str(programs / "pg_ctl"), "-D", str(data), "-o", options, "-l", str(folder / "log"), "-w", "start"]
    try:
        for command in ([str(programs / "initdb"), "-D", str(data), "-U", "halfmax", "-A", "trust"], start):
            subprocess.run([*user, *command], check=True, capture_output=True, env=environment, cwd="/", timeout=120)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"PostgreSQL does not start: {error.stderr[-200:]!r}")
    yield f"postgresql+psycopg://halfmax@/postgres?host={folder}"
    stop = [str(programs / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop"]
    subprocess.run([*user, *stop], check=False, capture_output=True, env=environment, cwd="/", timeout=60)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path) -> Iterator[Database]:
    if request.param == "sqlite":
        found = Database(f"sqlite:///{tmp_path / 'x.sqlite'}")
    else:
        found = Database(request.getfixturevalue("postgres"))
        with found.write() as connection:
            connection.execute(text("TRUNCATE jobs, results, predictors, aliases, tokens, audit CASCADE"))
    yield found
    found.close()


def test_migrations_make_the_tables_that_the_code_uses(database):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_sqlite_is_opened_so_that_a_commit_is_on_disk(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'x.sqlite'}")
    with database.read() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2
    database.close()


def test_a_job_goes_its_way_once(database):
    queue = Queue(database)
    first, second = queue.submit("a", "{}"), queue.submit("b", "{}", input="f" * 64)
    job = queue.claim("w1")
    assert job is not None
    assert (job.job_id, job.state, job.attempts) == (first, "running", 1)
    assert queue.renew(job, "w1", done=1, total=3)
    assert not queue.renew(job, "w2", done=1, total=3)
    assert queue.finish(job, "w1", "0" * 64)
    assert not queue.finish(job, "w1", "1" * 64)
    assert queue.result(first) == "0" * 64
    other = queue.claim("w1")
    assert other is not None
    assert other.job_id == second
    assert queue.claim("w2") is None
    assert queue.fail(other, "w1", "why")
    assert queue.get(second, "b").error == "why"
    assert queue.counts() == {"done": 1, "failed": 1}
    assert queue.stored() == {"0" * 64, "f" * 64}


def test_a_silent_worker_loses_its_job_and_cannot_write(database):
    queue = Queue(database, lease=1.5)
    queue.submit("a", "{}")
    slow = queue.claim("slow")
    assert queue.claim("fast") is None
    time.sleep(1.6)
    fast = queue.claim("fast")
    assert (fast.job_id, fast.attempts) == (slow.job_id, 2)
    assert not queue.finish(slow, "slow", "1" * 64)
    assert queue.finish(fast, "fast", "2" * 64)
    assert queue.result(fast.job_id) == "2" * 64


def test_a_job_that_kills_its_workers_is_poison_and_the_next_is_done(database):
    queue = Queue(database, lease=0.02)
    bad, good = queue.submit("a", "{}"), queue.submit("a", "{}")
    for n in range(MOST_ATTEMPTS):
        assert queue.claim(f"w{n}").job_id == bad
        time.sleep(0.05)
    assert queue.claim("last").job_id == good
    found = queue.get(bad, "a")
    assert found.state == "failed"
    assert found.error.startswith("poison")


def test_leases_do_not_follow_a_clock_that_is_set(database, monkeypatch):
    queue = Queue(database)
    queue.submit("a", "{}")
    job = queue.claim("w")
    now = time.time()
    for jump in (3600, -3600):
        monkeypatch.setattr(time, "time", lambda jump=jump: now + jump)
        assert queue.claim("other") is None
    assert queue.renew(job, "w", done=0, total=0)


def test_cancelled_jobs_stop_and_given_back_ones_count_no_attempt(database):
    queue = Queue(database)
    job_id = queue.submit("a", "{}")
    job = queue.claim("w")
    assert queue.give_back(job, "w")
    job = queue.claim("w")
    assert job.attempts == 1
    assert not queue.cancel(job_id, "somebody else")
    assert queue.cancel(job_id, "a")
    assert not queue.renew(job, "w", done=0, total=0)
    assert not queue.cancel(job_id, "a")
    assert queue.get(job_id, "somebody else") is None
    assert [j.job_id for j in queue.list("a")] == [job_id]
    assert queue.delete(job_id, "a")
    assert queue.list("a") == []


def test_old_jobs_are_forgotten_with_their_files(tmp_path):
    store = Store(ServeSettings(home=tmp_path, retention_days=0))
    digest = store.files.put(b"a profile")
    job_id = store.queue.submit("a", "{}", input=digest)
    store.tidy()
    assert store.queue.get(job_id, "a") is not None
    store.queue.cancel(job_id, "a")
    assert store.tidy() == 1
    assert store.queue.get(job_id, "a") is None
    store.files.delete_all_but(store.queue.stored(), older_than=0)
    with pytest.raises(UnknownNameError):
        store.files.path(digest)
    store.close()


def test_files_are_found_by_their_content_alone(tmp_path):
    files = Files(tmp_path / "files")
    (tmp_path / "given").write_bytes(b"x" * 3_000_000)
    digest = files.put(tmp_path / "given")
    assert files.put(b"x" * 3_000_000) == digest
    assert files.path(digest).read_bytes() == b"x" * 3_000_000
    assert files.path(digest).stat().st_mode & 0o077 == 0
    for name in ("../../etc/passwd", "", "A" * 64, digest + "\n", "\0" * 64):
        with pytest.raises(UnknownNameError):
            files.path(name)
    assert files.delete_all_but({digest}, older_than=0) == 0
    assert files.delete_all_but(set(), older_than=-1) == 1


def test_tokens_are_kept_as_hashes_and_end(database):
    tokens = Tokens(database)
    token = tokens.create("lab", admin=True)
    assert tokens.check(token).tenant == "lab"
    assert tokens.check(token).admin
    for wrong in ("", token[:-1], token[:-1] + ("0" if token[-1] != "0" else "1"), "hm_" + "0" * 16 + "_" + "0" * 64):
        assert tokens.check(wrong) is None
    assert tokens.check(tokens.create("lab", days=-1)) is None
    with database.read() as connection:
        rows = connection.execute(text("SELECT * FROM tokens")).all()
    assert token.rpartition("_")[2] not in str(rows)
    assert tokens.revoke(token.split("_")[1])
    assert tokens.check(token) is None


def test_the_audit_log_tells_when_a_row_was_changed_or_taken_out(database):
    log = Audit(database)
    for n in range(4):
        log.add("lab", "delete", f"job {n}")
    assert log.verify() == 4
    with database.write() as connection:
        connection.execute(update(audit).where(audit.c.number == 2).values(subject="job 9"))
    with pytest.raises(DataError, match="row 2"):
        log.verify()
    with database.write() as connection:
        connection.execute(audit.delete().where(audit.c.number == 2))
    with pytest.raises(DataError, match="row 3"):
        log.verify()


def test_predictors_lie_side_by_side_and_a_damaged_one_is_never_given_out(predictor, tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'x.sqlite'}")
    store = PredictorStore(database, tmp_path / "predictors")
    folder = predictor.save(tmp_path / "one")
    first = store.add(folder, "ridge")
    assert store.add(folder, "ridge") == first
    store.point("latest", "ridge")
    assert store.find("latest") == store.find("ridge") == store.find("ridge@1") == first
    assert store.open(first).model_name == "kernel_ridge"
    for name in ("ridge@2", "../etc", "", "ridge@x"):
        with pytest.raises(UnknownNameError):
            store.find(name)
    with pytest.raises(DataError, match="no name"):
        store.add(folder, "../x")
    arrays = tmp_path / "predictors" / first.digest / "arrays.safetensors"
    content = bytearray(arrays.read_bytes())
    content[-5] ^= 1
    arrays.write_bytes(content)
    with pytest.raises(ModelFileError):
        store.point("latest", "ridge")
    database.close()


def test_a_predictor_that_predicts_otherwise_than_before_is_refused(predictor, tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'x.sqlite'}")
    store = PredictorStore(database, tmp_path / "predictors")
    found = store.add(predictor.save(tmp_path / "one"), "ridge")
    with database.write() as connection:
        golden = connection.execute(text("SELECT golden FROM predictors")).scalar_one()
        values = [float(v) for v in golden.strip("[]").split(",")]
        values[0] += 0.01
        connection.execute(text("UPDATE predictors SET golden = :g"), {"g": str(values)})
    with pytest.raises(ModelFileError, match="predicts otherwise"):
        store.open(found)
    database.close()


def test_a_store_that_cannot_be_written_is_refused_by_name(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match="file"):
        Store(ServeSettings(home=tmp_path / "file" / "home"))
    folder = tmp_path / "dbfolder"
    folder.mkdir()
    with pytest.raises(DataError, match="dbfolder"):
        Database(f"sqlite:///{folder}")
