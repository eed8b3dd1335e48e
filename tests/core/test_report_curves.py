"""What the report's charts and tables are given: means, bands, extremes kept where points are left out, live rows."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.report import curves, freshness, freshness_process, unfinished
from core.report.paper_page import averaged_columns
from core.report.results import InvalidResult
from core.report.site import build_site
from core.report.sweep_page import SweepPage
from core.runs import sweep_folder
from tests.claims import make_claim
from tests.results_files import Reader, claim, config, measure, publish, run_halfway, run_locally, sweep, table


def data_of(path: Path, name: str) -> list[dict]:
    text = path.read_text(encoding="utf-8").split(f'id="{name}">')[1].split("</script>")[0]
    return json.loads(text)


def test_lines_are_means_with_the_lowest_and_highest_replicate() -> None:
    loss, accuracy = curves.build_charts(curves.table_from_frame(table()))
    assert (loss.study, loss.metric, loss.x) == ("lenet", "loss", "step")
    dense, ticket = loss.curves
    assert (dense.arm, dense.conditions, dense.replicates) == ("dense", {}, 3)
    assert dense.x.tolist() == [10.0 * step for step in range(1, 21)]
    np.testing.assert_allclose(dense.mean, 1 / np.arange(1, 21) + 1.01)
    np.testing.assert_allclose(dense.high - dense.low, 0.02)
    np.testing.assert_allclose(dense.mean - ticket.mean, 0.1)
    assert (accuracy.metric, accuracy.x) == ("test_accuracy", "density")
    assert accuracy.curves[0].x.tolist() == [12.5, 25.0, 50.0, 100.0]


def test_lines_agree_with_pandas_whatever_the_order_of_rows() -> None:
    rows = table().sample(frac=1, random_state=0)
    rows["draw"] = 0
    for view in curves.build_charts(curves.table_from_frame(rows), {"draw"}):
        for line in view.curves:
            mine = rows[(rows["metric"] == view.metric) & (rows["arm"] == line.arm)]
            wanted = mine.groupby(view.x)["value"].agg(["mean", "min", "max"])
            np.testing.assert_allclose(np.stack([line.mean, line.low, line.high], axis=1), wanted.to_numpy())


def test_conditions_tell_lines_apart_and_repetitions_do_not() -> None:
    rows = table()
    rows = pd.concat([rows.assign(rate=rate, query=query) for rate in ("high", "low") for query in range(30)])
    loss = curves.build_charts(curves.table_from_frame(rows))[0]
    found = sorted((line.arm, line.conditions["rate"]) for line in loss.curves)
    assert found == [(arm, rate) for arm in ("dense", "ticket") for rate in ("high", "low")]
    assert [line.conditions for line in curves.build_charts(curves.table_from_frame(rows), {"rate"})[0].curves] == [
        {},
        {},
    ]


@pytest.mark.parametrize(("length", "most"), [(1000, 40), (997, 41), (41, 40), (40, 40), (5, 40)])
def test_shortened_lines_keep_every_extreme(length: int, most: int) -> None:
    values = np.random.default_rng(length).standard_normal(length)
    x = np.arange(length, dtype=float)
    line = curves.Curve("a", {}, 1, x, values, values - 1, values + 1)
    found = line.downsample(most)
    assert len(found.x) == min(length, most)
    assert found.low.min() == (values - 1).min()
    assert found.high.max() == (values + 1).max()
    assert (np.diff(found.x) > 0).all()
    bounds = np.linspace(0, length, len(found.x), endpoint=False).astype(int)  # each bucket, by brute force
    for place, (start, end) in enumerate(zip(bounds, [*bounds[1:], length], strict=True)):
        assert found.low[place] == (values[start:end] - 1).min()
        assert found.mean[place] == pytest.approx(values[start:end].mean())


def test_what_is_not_finite_is_left_out_of_means_and_counted() -> None:
    rows = table(replicates=3)
    rows.loc[(rows["replicate"] == 0) & (rows["step"] == 10), "value"] = math.inf
    rows.loc[(rows["arm"] == "dense") & (rows["density"] == 100.0) & (rows["replicate"] > 0), "value"] = math.inf
    rows.loc[(rows["arm"] == "ticket") & (rows["density"] == 100.0), "value"] = math.inf
    dense = curves.build_charts(curves.table_from_frame(rows))[0].curves[0]
    assert dense.mean[0] == pytest.approx(2.015)
    names, finals, total = curves.summarise_final_measurements(curves.table_from_frame(rows))
    assert (names, total) == (["density"], 8)
    first = {row["arm"]: row for row in finals if row["density"] == 100.0}
    assert (first["dense"]["mean"], first["dense"]["never"], first["dense"]["n"]) == (88.0, 2, 3)
    assert (first["ticket"]["mean"], first["ticket"]["never"]) == (None, 3)
    json.dumps(curves.chart_data("a", curves.build_charts(curves.table_from_frame(rows)), (), 100, 1), allow_nan=False)


def test_a_page_holds_a_bounded_number_of_points_and_says_so() -> None:
    rows = table(arms=[f"arm {number}" for number in range(50)], replicates=2, steps=300)
    chart = curves.chart_data("all", curves.build_charts(curves.table_from_frame(rows)), ("arm 7",), 2000, len(rows))
    counts = [len(line["y"]) for view in chart["views"] for line in view["lines"]]
    assert max(counts) == curves.MIN_CURVE_POINTS
    assert sum(counts) <= 2000
    assert chart["arms"][0] == "arm 7"
    assert "at most 40 points, each for several steps in a row" in chart["note"]
    assert "50 lines are left out" in chart["note"]
    assert (
        "points"
        not in curves.chart_data("few", curves.build_charts(curves.table_from_frame(table())), (), 2000, 99)["note"]
    )


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([1.0, 2.0, 100.0], [1, 2, 100]),
        ([0.123456789, 1.0], [0.12346, 1.0]),
        ([123456789.0], [123460000]),
        ([-1.23456e-9, 0.0], [-1.2346e-09, 0.0]),
        ([math.nan, 0.5, math.inf], [None, 0.5, None]),
        ([1e300, 1e-290], [1e300, 1e-290]),
        ([], []),
    ],
)
def test_numbers_are_written_short(values: list[float], shown: list[float | None]) -> None:
    assert curves.round_for_json(values) == shown
    assert json.dumps(curves.round_for_json(values)) == json.dumps(shown)


def test_repetitions_are_read_from_the_claims() -> None:
    control = {"select": {"t": 1}}
    mean = {"metric": "m", "number": [{"mean": "draw"}, {"minus": {"arm": ["a", "b"]}}], "over": "replicate"}
    median = {"metric": "m", "number": [{"median": "table"}], "over": ["replicate", "query"]}
    bodies = {"C1": {"all": [{**mean, "in": [0, 1]}]}, "C2": {"at_least": {"k": 1, "of": [{**median, "in": [0, 1]}]}}}
    written = {name: {"says": "s", "study": "main", "control": control, **body} for name, body in bodies.items()}
    claims = {name: make_claim(name, each) for name, each in written.items()}
    assert averaged_columns(claims) == {"replicate", "draw", "query", "table"}


def test_measurements_reach_the_page_with_the_way_to_their_file(tmp_path: Path) -> None:
    root = tmp_path / "results"
    measure(publish(root, "a_paper", [claim("C1")]))
    measure(run_locally(root, "a_paper", [claim("C1")]), table(steps=5))
    build_site(root, [config("a_paper")], root / "report")
    reader = Reader(root / "report" / "a_paper.html")
    links = [link["href"] for link in reader.all("a") if "download" in link]
    assert links == [
        "../a_paper/laptop/measurements.csv.gz",
        "../runs/a_paper-lenet-laptop-000000000000/verdict/1000-6/measurements.csv.gz",
    ]
    assert all((root / "report" / str(link)).is_file() for link in links)
    first, second = data_of(root / "report" / "a_paper.html", "curves-data")
    assert first["name"] == "published, laptop scale"
    assert second["name"].startswith("local run of lenet, laptop scale, 6 replicates (1000 to 1005), learning_rate")
    assert [len(view["xs"][0]) for view in second["views"]] == [5, 4]
    assert "91.1 (91.0 to 91.2)" not in reader.text
    assert "ticket 100 89.10 (89.00 to 89.20) 3" in reader.text


def test_damaged_tables_and_missing_figures_are_said_on_the_page(tmp_path: Path) -> None:
    folder = publish(tmp_path, "a_paper", [claim("C1")])
    measure(folder)
    record = json.loads((folder / "provenance.json").read_text())
    record["studies"]["lenet"]["figures"] = ["losses"]
    (folder / "provenance.json").write_text(json.dumps(record))
    whole = (folder / "measurements.csv.gz").read_bytes()
    for content, said in [
        (whole[:100], "measurements.csv.gz cannot be read (EOFError)"),
        (b"no archive", "measurements.csv.gz cannot be read (BadGzipFile)"),
        (None, "measurements.csv.gz is missing"),
    ]:
        (folder / "measurements.csv.gz").unlink()
        if content is not None:
            (folder / "measurements.csv.gz").write_bytes(content)
        build_site(tmp_path, [config("a_paper")], tmp_path / "report")
        text = Reader(tmp_path / "report" / "a_paper.html").text
        assert said in text
        assert "a_paper/laptop: figures/lenet-losses.svg is missing" in text
        assert "Sentence of C1." in text


def test_tables_of_something_else_are_refused() -> None:
    for rows, said in [
        (pd.DataFrame({"a": [1]}), "t has no column study"),
        (table().assign(value="high"), "t has values that are no numbers"),
    ]:
        with pytest.raises(curves.CurvesUnavailable, match=said):
            curves.table_from_frame(rows, "t")


def test_a_run_that_goes_on_is_shown_with_its_live_rows(tmp_path: Path) -> None:
    run = run_halfway(tmp_path, "a_paper")
    found = unfinished.read_unfinished_run(run)
    assert found is not None
    assert (found.state, found.finished_replicates, found.started_replicates, found.last_step) == ("stopped", 1, 1, 300)
    with (run / "live" / "000001.jsonl").open("a") as file:  # the torn line is passed over, a later one wins
        file.write('\n{"replicate": 1, "stage": "dense", "step": 300, "loss": 9.0}\n')
    rows = unfinished.live_table(found)
    assert rows["value"].tolist() == [1.0, 0.5, pytest.approx(1 / 3), 9.0]
    build_site(tmp_path, [config("a_paper")], tmp_path / "report")
    [chart] = data_of(tmp_path / "report" / "a_paper.html", "curves-data")
    assert chart["name"] == "unfinished: lenet, laptop scale"
    assert chart["views"][0]["lines"][0]["y"] == [1.0, 0.5, 0.33333, 9.0]
    assert "1, up to step 300" in Reader(tmp_path / "report" / "index.html").text


def test_a_run_at_work_is_told_from_one_that_stopped(tmp_path: Path) -> None:
    import fcntl

    run = run_halfway(tmp_path, "a_paper")
    with (run / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        found = unfinished.read_unfinished_run(run)
        assert found is not None
        assert found.running
    (run / "verdict" / "0-1").mkdir(parents=True)
    (run / "verdict" / "0-1" / "claims.json").write_text("[]")
    assert unfinished.read_unfinished_run(run) is None
    (run / "settings.json").unlink()
    with (run / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InvalidResult, match=r"settings\.json is missing"):
            unfinished.read_unfinished_run(run)


def test_a_sweep_becomes_axes_and_points(tmp_path: Path) -> None:
    sweep(tmp_path, "a_paper")
    found = SweepPage(sweep_folder.read_sweeps(tmp_path / "runs")[0])
    chart = found.chart_data()
    rate, optimizer = chart["axes"]
    assert rate == {"name": "rate", "words": None, "values": [0.1, 0.1, 0.2, 0.2, 0.4, 0.4], "log": False}
    assert (optimizer["words"], optimizer["values"]) == (["sgd", "adam"], [0, 1, 0, 1, 0, 1])
    assert chart["values"] == [1.0, 0.0, 1.1, 0.1, 1.2, 0.2]
    assert found.state_counts == "6 finished"
    assert found.objective_text == "test_accuracy, ticket, higher is better"
    assert found.best_point is not None
    assert (found.best_point.number, found.objective_value(found.best_point), found.fresh_replicates_text) == (
        4,
        "1.20 [1.10, 1.30]",
        "1.30 [1.20, 1.40]",
    )
    build_site(tmp_path, [config("a_paper")], tmp_path / "report")
    text = Reader(tmp_path / "report" / "sweep-abc123abc123.html").text
    assert "winner point 4: 1.20 [1.10, 1.30]; on fresh replicates 1.30 [1.20, 1.40]" in text
    assert "encore run -m paper=a_paper settings.rate=0.1,0.2,0.4 settings.optimizer.name=sgd,adam" in text
    for name in ("index", "a_paper"):
        links = {link["href"] for link in Reader(tmp_path / "report" / f"{name}.html").all("a")}
        assert "sweep-abc123abc123.html" in links


def test_a_sweep_over_orders_of_magnitude_has_a_logarithmic_axis(tmp_path: Path) -> None:
    sweep(tmp_path, "a_paper", rates=("1e-3", "3e-3", "1e-2"))
    assert SweepPage(sweep_folder.read_sweeps(tmp_path / "runs")[0]).chart_data()["axes"][0]["log"]


def test_freshness_follows_the_code(toy_root: Path, tmp_path: Path) -> None:
    from core.cli.publish import standing
    from core.files import sha256, write_json
    from core.launch import compose, jobs
    from core.papers.config import load_config
    from core.runs.identity import digest

    def state() -> list[tuple[str, str]]:
        return [
            (each.study, each.state) for each in freshness.paper_freshness(tmp_path / "results", load_config("toy"))
        ]

    assert state() == []
    launch = compose.compose_launch(["paper=toy", "study=fit"])
    now = standing(jobs.make_job(launch, launch.studies[0]))
    studies = {"fit": {"identity": now.identity.parts, "verdict_identity": now.verdicts, "seconds": 60.0}}
    studies["fit"]["figures_identity"] = now.figures
    folder = tmp_path / "results" / "toy" / "laptop"
    write_json(folder / "claims.json", [])
    sums = {"claims.json": sha256((folder / "claims.json").read_bytes()), "provenance.json": digest(studies)}
    write_json(folder / "provenance.json", {"studies": studies, "files": sums})
    assert state() == [("fit", freshness.CURRENT)]
    experiment = toy_root / "experiments" / "toy" / "experiment.py"
    experiment.write_text(experiment.read_text().replace("1e-3 *", "2e-3 *"))
    assert state() == [("fit", freshness.STALE)]
    write_json(folder / "claims.json", [claim("C1")])
    assert state() == [("*", freshness.EDITED)]
    experiment.write_text("def broken(")
    write_json(folder / "claims.json", [])
    assert state() == [("", freshness.UNKNOWN)]


def test_a_second_process_answers_the_same(toy_root: Path, tmp_path: Path) -> None:
    from core.papers.config import load_config

    folder = tmp_path / "results" / "toy" / "laptop"
    folder.mkdir(parents=True)
    wanted = [freshness.Freshness("laptop", "*", freshness_process.EDITED, "provenance.json is missing or damaged")]
    assert freshness.paper_freshness(tmp_path / "results", load_config("toy")) == wanted
    assert freshness_process.FreshnessProcess(tmp_path / "results").freshness_of(load_config("toy")) == wanted


def test_a_process_without_an_answer_leaves_freshness_unknown(
    toy_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.papers.config import load_config

    monkeypatch.setattr(freshness_process.sys, "executable", "/bin/false")
    assert [each.state for each in freshness_process.FreshnessProcess(tmp_path).freshness_of(load_config("toy"))] == [
        freshness_process.UNKNOWN
    ]
