import json
import shlex
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from benchmarks import metaplasticity, report
from benchmarks.class_incremental import Protocol, Results, Row, parse_arguments, parse_strategies
from benchmarks.plots import CREATOR
from benchmarks.sections.ablation import CHOSEN, ablation, chosen, frontier, gates, one_pass
from benchmarks.sections.common import command, prose
from benchmarks.sections.comparison import class_incremental, group_rows, paired
from benchmarks.sections.few_images import few_images
from benchmarks.sections.papers import intelligence, mean_of_seen
from benchmarks.sections.reliability import promises_table
from benchmarks.sections.screening import batches_table
from models.strategies.artsy_gaussian.config import ArtsyGaussianConfig

PROTOCOL = Protocol(
    data="colours",
    backbone="vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    image_size=112,
    base_classes=4,
    tasks=2,
    train_per_class=7,
    test_per_class=3,
    held_out_per_class=1,
)


def row(strategy: str, seed: int, last: float, *, at_once: bool = False, **config: object) -> Row:
    return Row(
        strategy=strategy,
        config=config,
        at_once=at_once,
        seed=seed,
        last=last,
        average=last + 0.1,
        forgetting=0.05,
        routing_accuracy=0.75 if strategy == "artsy" else None,
        passes=1.25,
        expected_calibration_error=0.02,
        novelty_auroc=None,
        seconds_per_task=3.0,
        predict_images_per_second=40.0,
        state_mb=2.5,
        matrix=[[0.9], [0.8, 0.7], [last, last, last]],
        seen=[0.9, 0.75, last],
    )


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """One small file of every kind."""
    folder = tmp_path / "results"
    rows = Results(folder / "colours.json", PROTOCOL)
    for seed, last in ((1, 0.60), (2, 0.64)):
        rows.add(row("artsy", seed, last))
        rows.add(row("ease", seed, last - seed / 100))
    rows.add(row("ranpac", 2, 0.5, projection_width=500))
    rows.add(row("joint", 1, 0.7, at_once=True))
    strict = {"hybrid": [0.2, 0.9], "conventional": [0.1, 1.0], "stable": [0.8, 0.1]}
    poisoned = {"before": 0.8, "after": 0.7, "believed": 0.1, "remembered": 9}
    contents = {
        "ablation": {
            "protocol": {**vars(PROTOCOL), "schedule": {"epochs": 3, "batch_size": 5}},
            "machine": "a machine",
            "rows": [
                {
                    **{"group": "gates", "gate": "mlp", "input": "h0", "combine": "concat"},
                    **{"routed": "1", "seed": s, "last": 0.49 + s / 100, "passes": 2.0},
                }
                for s in (1, 2)
            ]
            + [
                {"group": "consolidation", "consolidation": "first_task", "drift": "none"}
                | {"head": "own covariances", "seed": 1, "last": 0.4, "average": 0.5, "passes": 1.0}
            ]
            + [
                {"group": "frontier", "method": "lda", "last": 0.5 + p / 9, "passes": p}
                for p in (1, 2)
            ],
        },
        "intelligence": {
            "command": "python -m benchmarks.synaptic_intelligence split-mnist",
            "machine": "a machine",
            "tasks": 2,
            "epochs": 10,
            "train_images": 100,
            "shortened": True,
            "paper_means": ["at chance", "97 %"],
            "seeds": [0],
            "runs": [
                {"seed": 0, "strength": c, "accuracies": [[1.0, 0.5], [0.5 + c / 2.5, 0.9]]}
                for c in (0.0, 1.0)
            ],
        },
        "serial": {
            "command": "python -m benchmarks.metaplasticity serial-position",
            "machine": "a machine",
            "protocol": vars(metaplasticity.QUICK),
            "paper": "what it says",
            "seeds": [0, 1],
            "runs": [{k: {"by_position": v, "remembered": 2} for k, v in strict.items()}] * 2,
        },
        "poisoning": {
            "command": "python -m benchmarks.metaplasticity poisoning",
            "machine": "a machine",
            "protocol": vars(metaplasticity.Protocol()),
            "paper": "what it says",
            "seeds": [0],
            "runs": [dict.fromkeys(strict, poisoned)],
        },
        "features": {
            "command": "python -m benchmarks.gate_features",
            "machine": "a machine",
            "protocol": {**vars(PROTOCOL), "base_classes": 0},
            "block": 2,
            "seed": 3,
            "n_test": 6,
            "features": {
                name: {"accuracy": accuracy, "points": [[0.1, 0.2, 1], [0.3, 0.1, 2]]}
                for name, accuracy in (("good", 0.91), ("bad", 0.34))
            },
        },
        "unheard": {"anything": 1},
    }
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_the_page_says_what_the_files_say_and_is_the_same_each_time(results):
    arguments = ["--results", str(results)]

    assert report.main([*arguments, "--check"]) == 1
    assert report.main(arguments) == 0

    page = results.parent / "RESULTS.md"
    text = page.read_text()
    assert "| `artsy` | 2 | 62.0 ± 2.8 | 72.0 ± 2.8 | 5.0 ± 0.0 | 75.0 ± 0.0 | 1.25 |" in text
    said = " ".join(text.split())
    assert "`artsy` minus its rivals" in said
    assert "`ease`: +1.5 ± 0.7 and +1.5 ± 0.7 (2 seeds)" in said
    assert "`ranpac:projection_width=500`: +14.0 and +14.0" in said
    assert "`joint`, all at once: -10.0 and -10.0" in said
    assert "2 of the 5 rows of [the file](results/ablation.json)" in text
    assert "that a trained gate chooses | 2 | 50.5 ± 0.7 | - | - | 2.00 |" in text
    assert "| 0 | 1 | 50.0 | 90.0 | 70.0 | at chance |" in text
    assert "| hybrid | 80.0 | 70.0 | 10.0 | 9.00 |" in text
    assert "| good | final feature h_0 | 91.0 |" in text
    assert "- [unheard.json](results/unheard.json)" in text
    pictures = {path: path.read_bytes() for path in (results / "figures").iterdir()}
    assert len(pictures) == 7
    assert all(f"(results/figures/{path.name})" in text for path in pictures)
    assert report.main([*arguments, "--check"]) == 0
    stale = results / "figures" / "stale.svg"
    stale.touch()
    report.main(arguments)
    assert not stale.exists()
    assert all(path.read_bytes() == content for path, content in pictures.items())


def test_another_number_in_a_file_makes_the_page_stale(results):
    report.main(["--results", str(results)])
    path = results / "features.json"
    path.write_text(path.read_text().replace("0.34", "0.36"))

    assert report.main(["--results", str(results), "--check"]) == 1


def test_a_picture_of_other_numbers_is_stale(results, capsys):
    arguments = ["--results", str(results)]
    report.main(arguments)
    picture = results / "figures" / "ablation.svg"
    drawn = picture.read_bytes()

    picture.write_bytes(drawn.replace(b"<path d=", b"<path  d=", 1))
    assert report.main([*arguments, "--check"]) == 1
    assert "ablation.svg" in capsys.readouterr().out.replace("\n", "")
    picture.unlink()
    assert report.main([*arguments, "--check"]) == 1
    picture.write_bytes(drawn.replace(CREATOR.encode(), b"matplotlib 3.0"))
    assert report.main([*arguments, "--check"]) == 0


def test_every_ablation_row_shown_is_one_of_the_committed_file():
    rows = json.loads((report.RESULTS / "ablation.json").read_text())["rows"]

    for name, wanted in CHOSEN.items():
        assert len(chosen(rows, wanted)) == 1, name
    assert len(CHOSEN) == 10
    charts = one_pass(rows), frontier(rows), gates(rows)
    points = [place for chart in charts for group in chart.groups for place in group.places]
    assert len(points) == 4 * 5 + 4 * 10 + 8 + 7 * 5


def test_a_promise_has_one_line_for_all_the_times_it_was_checked():
    verdicts = [
        {"promise": "it lives", "checked": 3, "broken": 0},
        {"promise": "it sleeps", "checked": 0, "broken": 0},
        {"promise": "it lives, while some is unlearned", "checked": 2, "broken": 1},
        {"promise": "after a power cut: it lives", "checked": 5, "broken": 1},
    ]

    written = promises_table(verdicts).splitlines()

    assert written[2:] == ["| it lives | 3 | 2 | 5 | 2 |", "| it sleeps | 0 |  |  | 0 |"]


def test_batches_of_a_kind_have_one_line():
    row = {"kind": "digits", "classes": 2, "images_a_class": 50, "n": 9, "held": 1}
    rows = [
        row | {"codes": {"copies": 1}},
        row | {"classes": 5, "held": 4, "codes": {"copies": 3, "flooded": 1}},
        row | {"kind": "faces", "codes": {}},
    ]

    written = batches_table("batches", rows).splitlines()

    assert written[0] == "| batches held, by classes x images | 2 x 50 | 5 x 50 | findings |"
    assert written[2:] == [
        "| digits | 1 of 9 | 4 of 9 | copies 4, flooded 1 |",
        "| faces | 1 of 9 |  |  |",
    ]


def test_no_paragraph_is_wider_than_a_page_and_commands_stay_whole():
    long = "word " * 40
    assert max(len(line) for line in prose(long).splitlines()) <= 120
    assert prose(f"- {long}").splitlines()[1].startswith("  word")
    for kept in (f"| {long} |", f"    {long}", f"# {long}"):
        assert prose(kept) == kept
    wide = command("python x", f"--names {'a' * 150}", "--out y")
    assert wide.splitlines() == [
        "    python x --names \\",
        f"        {'a' * 150} \\",
        "        --out y",
    ]


def test_the_grid_of_few_images_shows_what_the_default_gains():
    about = {"backbone": "bundled", "image_size": 64, "data": "moss", "classes": 2, "images": 5}
    values = {"auroc": 0.9, "false_alarms": 0.05, "recognised": 0.5}
    values |= {"calibration_errors": [0.3, 0.08], "calibration_floor": 0.06}
    rows = [
        {**about, **values, "strategy": strategy, "seed": seed, "last": last + 0.1 * seed}
        for strategy, last in (("artsy", 0.5), ("simplecil", 0.4))
        for seed in (0, 1)
    ]

    text = "\n".join(few_images("few_images", {"rows": rows}).text)

    assert (
        "| moss | 2 | 5 | 55.0 | 45.0 | +10.0 ± 0.0 | 90.0 | 90.0 | +0.0 ± 0.0 | 5.0 | 50.0 | 8.0 | 6.0 |"
        in text
    )
    assert "| recognised | calibration error | floor |" in text
    assert "--images 5 --strategies artsy,simplecil" in " ".join(text.split())
    assert "last +10.0 on `simplecil` (1); auroc +0.0 on `simplecil` (1)." in " ".join(text.split())


def test_the_grid_of_few_images_is_drawn_by_images_a_class():
    about = {"backbone": "vit", "image_size": 112, "data": "moss", "classes": 2, "seed": 0}
    values = {"auroc": 0.9, "false_alarms": 0.05, "recognised": 0.5, "calibration_errors": [0.3]}
    rows = [
        {**about, **values, "strategy": strategy, "images": images, "last": 0.5}
        for strategy in ("artsy", "simplecil")
        for images in (5, "mixed")
    ]

    section = few_images("few_vit", {"rows": rows})
    figure = section.pictures["few_vit"]()

    left, right = figure.axes
    assert [line.get_label() for line in left.lines] == ["artsy", "simplecil"]
    assert [label.get_text() for label in left.get_xticklabels()] == ["5", "mixed"]
    assert right.lines[0].get_ydata().tolist() == [90.0, 90.0]
    assert "--backbone vit --weights FILE --image-size 112" in " ".join(section.text[1].split())


def test_rows_of_before_the_calibration_floor_was_measured_are_shown_without_it():
    about = {"backbone": "bundled", "image_size": 64, "data": "moss", "classes": 2, "images": 5}
    values = {"last": 0.5, "auroc": 0.9, "false_alarms": 0.05, "recognised": 0.5}
    row = {**about, **values, "strategy": "artsy", "seed": 0, "calibration_errors": [0.08]}

    text = "\n".join(few_images("few_images", {"rows": [row]}).text)

    assert "| 5.0 | 50.0 | 8.0 | - |" in text


def test_what_no_file_holds_is_called_not_run(tmp_path):
    text, pictures = report.build(tmp_path)

    assert text.count(report.NOT_RUN) == 26
    assert "python -m benchmarks.synaptic_intelligence permuted-mnist --data DIR" in text
    assert not pictures


def test_the_command_asks_for_the_rows_again(results):
    content = json.loads((results / "colours.json").read_text())
    text = class_incremental("colours", content).text
    calls = [part.replace("\\\n", " ") for part in text if part.startswith("    python")]

    asked = set()
    for call in calls:
        arguments = parse_arguments(shlex.split(call)[3:])
        assert (arguments.tasks, arguments.base_classes) == (2, 4)
        assert (arguments.train_per_class, arguments.test_per_class) == (7, 3)
        assert (arguments.held_out_per_class, arguments.image_size) == (1, 112)
        assert arguments.backbone == PROTOCOL.backbone
        for name, config in parse_strategies(arguments.strategies):
            once = name in arguments.at_once.split(",")
            asked |= {(name, json.dumps(config), seed, once) for seed in arguments.seeds}

    rows = content["rows"]
    assert asked == {
        (row["strategy"], json.dumps(row["config"]), row["seed"], row["at_once"]) for row in rows
    }


def test_differences_are_paired_by_seed():
    rows = [vars(row(*of)) for of in (("artsy", 1, 0.5), ("artsy", 2, 0.9), ("ease", 2, 0.6))]
    artsy, ease = group_rows(rows)

    assert paired(artsy, ease, "last") == "+30.0"


def test_rows_that_were_consolidated_otherwise_are_no_seeds_of_one_another():
    rows = [asdict(row("artsy", 1, last)) for last in (0.5, 0.7, 0.6)]
    for one, every in zip(rows, (0, 20, 1), strict=True):
        one["consolidate_every"] = every
    del rows[2]["consolidate_every"]  # as files of earlier releases have it
    before = json.dumps(rows)

    text = "\n".join(
        class_incremental(
            "colours", {"protocol": asdict(PROTOCOL), "machine": "one", "rows": rows}
        ).text
    )

    assert [group.label for group in group_rows(rows)] == [
        "artsy, consolidated every 20 tasks",
        "artsy",
        "artsy, never consolidated",
    ]
    assert "--consolidate-every 0" in text
    assert "--consolidate-every 20" in text
    assert text.count("python -m benchmarks.class_incremental") == 3
    assert json.dumps(rows) == before


def test_the_mean_is_over_the_tasks_learned_by_then():
    found = np.asarray([[[1.0, 0.5], [0.6, 0.8]]])

    assert mean_of_seen(found) == pytest.approx(np.asarray([[1.0, 0.7]]))


def test_a_shortened_run_is_called_so(results):
    content = json.loads((results / "intelligence.json").read_text())

    assert "does not compare" in "\n".join(intelligence("intelligence", content).text)
    whole = {**content, "shortened": False}
    assert "does not compare" not in "\n".join(intelligence("intelligence", whole).text)


def test_the_committed_page_is_current():
    page, figures = report.RESULTS.parent / "RESULTS.md", report.RESULTS / "figures"

    assert not report.stale(page, figures, *report.build(report.RESULTS)), (
        "run python -m benchmarks.report"
    )


def test_the_command_of_an_ablation_names_what_it_was_told():
    schedule = asdict(ArtsyGaussianConfig().schedule)
    content = {
        "protocol": {**vars(PROTOCOL), "schedule": {**schedule, "augmentation": "crop_flip"}},
        "machine": "a machine",
        "rows": [{"group": "consolidation", "consolidation": "own", "seed": 3, "last": 0.5}],
    }

    text = "\n".join(ablation("ablation", content).text)

    assert "--config augmentation=crop_flip --own --seeds 3" in " ".join(
        text.replace("\\", "").split()
    )
    assert f"--epochs {schedule['epochs']} --batch-size {schedule['batch_size']}" in text
