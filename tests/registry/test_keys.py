import pytest

from registry import keys
from registry.errors import KeyNotFoundError


def test_a_key_is_shown_once_and_verified(session):
    row, plaintext = keys.create_key(session, "laptop", "trainer")
    assert plaintext.startswith(f"fil_{row.id}_")
    assert plaintext.split("_")[2] not in str(vars(row))
    found = keys.verify_key(plaintext, keys.active_keys(session))
    assert (found.id, found.name, found.role) == (row.id, "laptop", "trainer")
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
