from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, text, update

from registry import keys
from registry.errors import InvalidKeyError, KeyNotFoundError
from registry.keys import DAY
from registry.learners import create_learner, delete_learner
from registry.tables import KeyRow, TaskRow
from tests.factories import make_learner, make_task


def test_a_key_is_shown_once_and_verified(session):
    row, plaintext = keys.create_key(session, "laptop", "trainer")
    assert plaintext.startswith(f"fil_{row.id}_")
    assert plaintext.split("_")[2] not in str(vars(row))
    key = keys.verify_key(plaintext, keys.active_keys(session))
    assert (key.id, key.name, key.role) == (row.id, "laptop", "trainer")
    assert row.created_at is not None


def test_wrong_keys(session):
    row, plaintext = keys.create_key(session, "laptop", "reader")
    active = keys.active_keys(session)
    wrong = [
        "",
        "fil",
        "fil__",
        row.id,
        plaintext[:-1],
        plaintext + "0",
        plaintext.upper(),
        plaintext.replace("fil", "lif"),
        f"fil_{row.id}_",
        f"fil_{row.id}_\ud800é",
        f"fil_000000000000_{plaintext.split('_')[2]}",
    ]
    assert [keys.verify_key(text, active) for text in wrong] == [None] * len(wrong)


def test_a_revoked_key_is_kept_and_useless(session):
    row, plaintext = keys.create_key(session, "laptop", "reader")
    first = keys.revoke_key(session, row.id).revoked_at
    assert first is not None
    assert keys.revoke_key(session, row.id).revoked_at == first
    assert keys.verify_key(plaintext, keys.active_keys(session)) is None
    assert [key.id for key in keys.list_keys(session)] == [row.id]
    with pytest.raises(KeyNotFoundError):
        keys.revoke_key(session, "nothing")


def test_an_unknown_role_is_refused(session):
    with pytest.raises(Exception, match="ck_keys_role"):
        keys.create_key(session, "laptop", "god")


def test_a_key_is_limited_to_learners_by_id(session):
    for name in ("birds", "fish"):
        create_learner(
            session, name, strategy="simplecil", backbone="tiny", config={}, halved_to=288
        )
    row, _ = keys.create_key(session, "camera", "trainer", learners=["fish", "birds", "fish"])
    assert len(row.learner_ids) == 2
    assert keys.active_keys(session)[row.id].learners.keys() == {"birds", "fish"}
    delete_learner(session, "fish")
    create_learner(session, "fish", strategy="simplecil", backbone="tiny", config={}, halved_to=288)
    assert keys.active_keys(session)[row.id].learners.keys() == {"birds"}
    assert set(keys.learner_names(session, [row]).values()) == {"birds"}
    whole, _ = keys.create_key(session, "laptop", "trainer")
    assert keys.active_keys(session)[whole.id].learners is None


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"role": "admin", "learners": []}, "learners"),
        ({"role": "reader", "learners": ["nobody"]}, "learners/0"),
        ({"role": "reader", "expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "expires_at"),
    ],
)
def test_keys_that_make_no_sense(session, options, field):
    with pytest.raises(InvalidKeyError) as refused:
        keys.create_key(session, "camera", **options)
    assert refused.value.field == field


def test_a_key_expires_by_the_clock_of_the_database(session):
    now = session.scalars(select(func.now())).one()
    row, plaintext = keys.create_key(
        session, "camera", "reader", expires_at=now + timedelta(minutes=1)
    )
    active = keys.active_keys(session)
    assert keys.verify_key(plaintext, active).expires_in_s == pytest.approx(60, abs=1)
    session.execute(update(KeyRow).values(expires_at=func.now()))
    assert row.id not in keys.active_keys(session)


def test_an_admin_key_that_expires_is_no_lasting_one(session):
    tomorrow = datetime.now(UTC) + DAY
    keys.create_key(session, "for a day", "admin", expires_at=tomorrow)
    assert not keys.has_lasting_admin(session)
    keys.create_key(session, "for ever", "admin")
    assert keys.has_lasting_admin(session)


def test_use_is_noted_and_never_goes_back(session):
    row, _ = keys.create_key(session, "camera", "reader")
    assert row.last_used_at is None
    keys.note_used(session, {row.id: 30.0, "gone00000000": 1.0})
    session.refresh(row)
    first = row.last_used_at
    keys.note_used(session, {row.id: 90.0})
    session.refresh(row)
    assert row.last_used_at == first
    keys.note_used(session, {row.id: 0.0})
    session.refresh(row)
    assert row.last_used_at - first == timedelta(seconds=30)


def test_a_day_counts_what_was_posted_with_the_key_within_24_hours(session, blobs):
    learner = make_learner(session)
    assert keys.day_use(session, "camera") == keys.DayUse(0, 0, 0.0)
    for label, key_id in (("a", "camera"), ("b", "camera"), ("c", "camera"), ("d", "other")):
        make_task(
            session, blobs, learner.name, classes=(label,), n_train=5, n_eval=2, key_id=key_id
        )
    tasks = list(session.scalars(select(TaskRow.id).order_by(TaskRow.index)))
    age = text("now() - interval '25 hours'"), text("now() - interval '20 hours'")
    for task_id, created_at in zip(tasks, age, strict=False):
        session.execute(update(TaskRow).where(TaskRow.id == task_id).values(created_at=created_at))
    use = keys.day_use(session, "camera")
    assert (use.n_tasks, use.n_images) == (2, 14)
    assert use.frees_in_s == pytest.approx(4 * 3600, abs=1)


def test_one_key_is_looked_up_by_itself(session):
    row, text = keys.create_key(session, "camera", "predictor")
    _, short = keys.create_key(
        session, "short", "reader", expires_at=datetime.now(UTC) + timedelta(hours=1)
    )
    assert keys.is_active(session, text)
    assert keys.is_active(session, short)
    wrong = [
        "",
        "fil",
        text[:-1],
        text + "0",
        text[:-1] + ("1" if text[-1] == "0" else "0"),
        text.upper(),
    ]
    assert not any(keys.is_active(session, each) for each in wrong)
    session.execute(update(KeyRow).where(KeyRow.name == "short").values(expires_at=func.now()))
    keys.revoke_key(session, row.id)
    assert not keys.is_active(session, text)
    assert not keys.is_active(session, short)


def test_the_first_key_may_be_proposed_once(session):
    proposed = f"fil_{'a' * 12}_{'b' * 64}"
    assert keys.create_first_admin_key(session, proposed) == proposed
    assert keys.verify_key(proposed, keys.active_keys(session)).role == "admin"
    assert keys.create_first_admin_key(session, proposed) is None
    keys.revoke_key(session, "a" * 12)
    other = keys.create_first_admin_key(session, proposed)
    assert other not in (None, proposed)
    assert keys.verify_key(proposed, keys.active_keys(session)) is None


@pytest.mark.parametrize(
    "proposed", ["", "secret", f"fil_{'a' * 12}_{'b' * 63}", f"fil_{'A' * 12}_{'b' * 64}"]
)
def test_what_is_no_whole_key_is_not_made_the_first(session, proposed):
    key = keys.create_first_admin_key(session, proposed)
    assert key != proposed
    assert keys.verify_key(key, keys.active_keys(session)).role == "admin"
