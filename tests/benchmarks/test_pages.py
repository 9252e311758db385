from benchmarks.pages import PAGES, label_of, large, measure
from registry import accuracy, learners


def test_every_page_is_asked_of_a_learner_that_has_learned():
    n_tasks = 3
    with large(n_tasks, 6, 4) as (app, factory, secret):
        with factory() as session:
            learner = learners.get_learner(session, "herbarium")
            history = accuracy.history(session, learner.id)
        assert history.tasks == [1, 2, 3]
        assert len(history.matrix) == n_tasks
        names = {"name": "herbarium", "label": label_of(0), "version": n_tasks}
        rows = measure(app, secret, 1, **names)
    assert [row[0] for row in rows] == list(PAGES)
    assert all(0 < median == first for _, first, median in rows)
