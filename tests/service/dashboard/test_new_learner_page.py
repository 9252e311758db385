"""Creating a learner in the browser."""

import pytest

from models.backbone import RECOMMENDED
from models.strategies.catalog import CATALOG
from registry import keys, learners
from service.dashboard.new_learner_page import free_name, similar_name
from tests.factories import make_learner

OWN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def settings(settings, tmp_path):
    """The service's, with a folder for weights of backbones."""
    weights = tmp_path / "weights"
    weights.mkdir()
    return settings.model_copy(update={"backbone_weights": weights})


def create(browser, **form):
    return browser.post("/admin/new-learner", data=form, headers=OWN)


def test_an_empty_installation_offers_to_create_one(browser):
    html = browser.get("/admin").text
    assert 'href="/admin/new-learner"' in html
    assert html.index("Create a learner") < html.index("filopodia learn birds")


def test_a_list_of_learners_has_a_button_for_another(browser, session):
    make_learner(session, "birds")
    session.commit()
    html = browser.get("/admin").text
    assert "New learner</a>" in html
    assert "filopodia learn" not in html


def test_the_default_is_chosen_and_all_others_are_there(browser):
    html = browser.get("/admin/new-learner").text
    for value in ("artsy", "bundled"):
        assert f'value="{value}" checked' in html
    assert html.count(" checked") == 2
    for strategy in CATALOG:
        assert html.count(f'name="strategy" value="{strategy.name}"') == 1
    for name, _ in RECOMMENDED:
        assert f'name="backbone" value="{name}"' in html
    assert html.count("downloaded when it is first used") == len(RECOMMENDED)


def test_weights_on_the_server_need_no_download(settings, browser):
    (settings.backbone_weights / f"{RECOMMENDED[0][0]}.safetensors").write_bytes(b"")
    html = browser.get("/admin/new-learner").text
    assert html.count("downloaded when it is first used") == len(RECOMMENDED) - 1
    assert html.count("lie on this server") == 1


def test_creating_leads_to_the_page_that_teaches(browser, session):
    answer = create(browser, name=" fish ", strategy="ranpac", backbone="tiny")
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/learners/fish/teach")
    fish = learners.get_learner(session, "fish")
    assert (fish.strategy, fish.backbone) == ("ranpac", "tiny")
    assert fish.config


def test_a_name_alone_is_enough(browser, session):
    assert create(browser, name="fish").status_code == 303
    fish = learners.get_learner(session, "fish")
    assert (fish.strategy, fish.backbone) == ("artsy", "bundled")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("", "Give the learner a name."),
        ("My Fish!", "For example: my-fish"),
        ("<b>", "For example: b"),
        ("鳥", "small letters from a to z"),
        ("x" * 64, "at most 63"),
    ],
)
def test_a_name_that_cannot_be_is_kept_with_advice_beside_it(browser, session, name, advice):
    answer = create(browser, name=name, strategy="simplecil")
    assert answer.status_code == 422
    assert advice in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert 'value="simplecil" checked' in answer.text
    assert "<b>" not in answer.text.partition('id="name"')[2].partition(">")[0]
    assert learners.list_learners(session).items == []


def test_a_name_that_is_taken_is_told(browser, session):
    make_learner(session, "birds")
    session.commit()
    answer = create(browser, name="birds")
    assert answer.status_code == 409
    assert "There is a learner of this name already." in answer.text


@pytest.mark.parametrize("field", ["strategy", "backbone"])
def test_a_choice_that_is_not_there_is_told_beside_it(browser, session, field):
    answer = create(browser, name="fish", **{field: "vit_nothing.at_all"})
    assert answer.status_code == 422
    place = "How it learns" if field == "strategy" else "What it sees with"
    assert answer.text.partition(f"<legend>{place}")[2].strip().startswith("</legend>")
    told = answer.text.partition(f"<legend>{place}</legend>")[2].strip()
    assert told.startswith('<p class="wrong" role="alert">This choice is not offered here.')
    assert learners.list_learners(session).items == []


@pytest.mark.parametrize("role", ["reader", "predictor"])
def test_who_may_not_teach_is_not_offered_it_and_refused(visitor, log_in, role_keys, role):
    log_in(role_keys[role])
    html = visitor.get("/admin").text
    assert "/admin/new-learner" not in html
    assert "filopodia learn" not in html
    assert visitor.get("/admin/new-learner").status_code == 403
    assert create(visitor, name="fish").status_code == 403


def test_a_trainer_of_some_learners_creates_none(app, visitor, log_in, session):
    make_learner(session, "birds")
    _, key = keys.create_key(session, "birders", "trainer", learners=["birds"])
    session.commit()
    app.state.context.keys.refresh()
    log_in(key)
    assert "/admin/new-learner" not in visitor.get("/admin").text
    assert visitor.get("/admin/new-learner").status_code == 403
    assert create(visitor, name="fish").status_code == 403


def test_a_free_name_is_suggested(session):
    assert free_name(session) == "my-photos"
    for taken in ("my-photos", "my-photos-2"):
        make_learner(session, taken)
    assert free_name(session) == "my-photos-3"


def test_a_similar_name_is_one_that_may_be():
    assert similar_name("Äpfel & Birnen") == "apfel-birnen"
    assert similar_name("x" * 80) == "x" * 63
    assert similar_name("!!!") == ""
