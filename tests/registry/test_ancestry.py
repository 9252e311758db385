from registry import accuracy, ancestry, learners, versions
from registry.ancestry import Step
from tests.factories import make_learner, make_task, publish_task


def teach(session, blobs, *classes, **version):
    mode = "new_classes" if "extend" not in version else "extend"
    version.pop("extend", None)
    task = make_task(session, blobs, classes=classes, n_train=1, n_eval=0, mode=mode)
    return publish_task(session, task, **version)


def test_a_line_leads_from_the_first_version_to_the_one_asked_for(session, blobs):
    learner = make_learner(session)
    for label in ("heron", "crane", "stork"):
        teach(session, blobs, label)
    versions.move_head(session, learner.id, 1)
    teach(session, blobs, "ibis")
    assert ancestry.line(session, learner.id, 3) == [
        Step(1, [1]),
        Step(2, [1, 2]),
        Step(3, [1, 2, 3]),
    ]
    assert ancestry.line(session, learner.id, 4) == [Step(1, [1]), Step(4, [1, 4])]
    assert ancestry.line(session, learner.id, 0) == []


def test_a_class_learned_again_is_the_later_tasks_alone(session, blobs):
    learner = make_learner(session)
    teach(session, blobs, "heron", "egret")
    teach(session, blobs, "heron", extend=True)
    assert ancestry.brought(session, learner.id, 2) == {1: ["heron", "egret"], 2: ["heron"]}
    # Heron goes from both tasks, and of task 2 nothing is left.
    gone = make_task(session, blobs, classes=("crane",), n_train=1, n_eval=0)
    publish_task(session, gone, tasks=[1], classes=["egret"])
    teach(session, blobs, "heron", tasks=[1, 4])
    assert ancestry.brought(session, learner.id, 4) == {1: ["egret"], 4: ["heron"]}
    table = learners.class_table(session, learner)
    assert [(info.label, info.task_index) for info in table] == [("egret", 1), ("heron", 4)]


def test_tells_what_moving_the_head_would_do(session, blobs):
    learner = make_learner(session)
    for label in ("heron", "crane", "stork"):
        teach(session, blobs, label)

    back = ancestry.if_head_moved(session, learner.id, 1)
    versions.move_head(session, learner.id, 1)

    assert back == ancestry.HeadMove(superseded=[2, 3], restored=[], is_busy=False)
    assert accuracy.superseded_tasks(session, learner.id) == back.superseded
    assert ancestry.if_head_moved(session, learner.id, 2).restored == [2]
    make_task(session, blobs, classes=("ibis",), n_train=1, n_eval=0)
    assert ancestry.if_head_moved(session, learner.id, 2).is_busy
