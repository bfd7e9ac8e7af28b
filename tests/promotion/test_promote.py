"""Promotion: who becomes champion, what is left of it where, and that a kill anywhere changes nothing of that."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ctrgate.artifact.bundle import Artifact
from ctrgate.artifact.manifest import Manifest, identity
from ctrgate.cli import main
from ctrgate.errors import ArtifactError, ConfigError, DataError, HeldBackError
from ctrgate.registry import champion_of, versions_of
from ctrgate.tracking import TrackingConfig
from tests.promotion.conftest import comparison, measured


def test_the_first_model_needs_no_comparison_and_the_next_ones_move_the_aliases(world: Any) -> None:
    assert champion_of(world.tracking, model="small") is None
    told = world("promote", "first", "promote.rules.calibration={low: .1, high: 10}")
    assert (told["verdict"], told["version"], told["champion"], told["previous"]) == ("promoted", 1, 1, None)
    assert world.aliases() == {"champion": "first"}
    world.promote("second", against="first")
    assert world.aliases() == {"champion": "second", "previous": "first"}
    world.promote("third", against="second")
    assert world.aliases() == {"champion": "third", "previous": "second"}
    assert [version.version for version in versions_of(world.tracking, model="small")] == [1, 2, 3]


def test_a_promotion_is_told_by_its_record_the_version_and_the_run(world: Any) -> None:
    world.promote("first")
    world.promote("second", against="first")
    record, champion = world.record("second"), world.champion
    assert (record["format_version"], record["verdict"], record["version"]) == (1, "promoted", 2)
    assert record["champion_before"]["run"] == "first"
    assert record["champion_after"] == {"version": 2, "run": "second", "artifact": champion.identity}
    assert record["sentence"].startswith("B is better by 0.0020")
    assert set(record["rules"]) == {"parity", "auc", "log_loss", "calibration", "segments", "scores", "champion"}
    assert all(rule["passed"] and rule["limit"] and rule["told"] for rule in record["rules"].values())
    assert champion.tags["ctrgate.verdict"] == "promoted"
    assert champion.tags["ctrgate.rule.auc"].startswith("holds: AUC differs by +0.00200 [+0.00102, +0.00298]")
    client = world.registry.client
    run = client.get_run(client.get_model_version("small", "2").run_id)
    assert run.data.metrics["promotion/auc/value"] == 0.002
    assert run.data.metrics["promotion/promoted"] == 1
    copied = Path(champion.source) / "artifact"
    assert identity(copied) == champion.identity
    Manifest.read(copied)
    (logged,) = (path for path in copied.parents[2].rglob("promotion.json"))
    assert json.loads(logged.read_text()) == record
    assert champion.artifact == str(world.folder / "runs/second/artifact")


def test_a_held_challenger_is_a_version_without_tables_and_the_champion_stays(world: Any) -> None:
    world.promote("first")
    for _ in range(2):  # again, it ends the same
        with pytest.raises(HeldBackError, match=r"(?s)version 2 of small.*stays version 1.*scores: .* is 0\.3"):
            world.promote("second", against="first", psi=0.3)
    assert world.aliases() == {"champion": "first", "challenger": "second"}
    assert world.record("second")["verdict"] == "held"
    held = world.registry.version(2)
    assert held.tags["ctrgate.verdict"] == "held"
    assert not Path(held.source).exists()
    assert world.promote("second", "promote.rules.scores.max_psi=0.5", against="first", psi=0.3)["champion"] == 2
    assert world.aliases() == {"champion": "second", "previous": "first"}


def test_run_again_after_success_it_changes_nothing(world: Any) -> None:
    world.promote("first")
    assert world.promote("second", against="first")["changed"]
    database = (world.folder / "mlflow.db").read_bytes()
    again = world.promote("second", against="first")
    assert (again["verdict"], again["changed"], again["champion"]) == ("promoted", False, 2)
    assert (world.folder / "mlflow.db").read_bytes() == database


def test_a_refit_takes_its_origin_s_place_and_a_comparison_with_the_origin_still_counts(world: Any) -> None:
    world.promote("first")
    refit = f"promote.refit_of={world.folder / 'runs/first'}"
    assert world("promote", "second", refit)["champion"] == 2
    assert world.champion.refit_of == 1
    assert world.record("second")["sentence"] == "a refit of version 1 (run first) on later rows, not compared"
    assert set(world.record("second")["rules"]) == {"parity", "champion"}
    assert world("promote", "second", refit)["changed"] is False
    assert world.promote("third", against="first")["champion"] == 3  # which its refit, unseen rows lacking, stands for
    assert world.aliases() == {"champion": "third", "previous": "second"}


def test_a_refit_of_what_is_no_longer_champion_is_held_and_of_an_unknown_run_refused(world: Any) -> None:
    world.promote("first")
    world.promote("second", against="first")
    with pytest.raises(HeldBackError, match=r"champion: it was compared with version 1 .*the champion is version 2"):
        world("promote", "third", f"promote.refit_of={world.folder / 'runs/first'}")
    with pytest.raises(ConfigError, match=r"refit_of: .*elsewhere is the run of no version of small"):
        world("promote", "third", "promote.refit_of=elsewhere")
    with pytest.raises(ConfigError, match="comparison and refit_of exclude each other"):
        world("promote", "third", "promote.refit_of=a", "promote.comparison=b")
    assert world.aliases() == {"champion": "second", "previous": "first", "challenger": "third"}


def test_a_champion_without_a_comparison_and_a_comparison_without_a_champion_are_refused(world: Any) -> None:
    with pytest.raises(ConfigError, match="no champion yet"):
        world.promote("second", against="first")
    world.promote("first")
    with pytest.raises(ConfigError, match=r"has a champion, version 1 .*compare with it .*first/artifact"):
        world.promote("second")
    with pytest.raises(ConfigError, match=r"A is the artifact .*third.* not the champion of small, version 1"):
        world.promote("second", against="third")
    with pytest.raises(ConfigError, match=r"B is the artifact .*third.* not .*second as it was exported"):
        world("promote", "second", f"promote.comparison={world.compared('third', 'first')}")
    assert world.aliases() == {"champion": "first"}


@pytest.mark.parametrize(
    ("name", "remark"),
    [("comparison.json", "does not exist"), ("damaged.json", "damaged"), ("newer.json", "has format 2")],
)
def test_a_comparison_that_cannot_be_read_is_told(world: Any, name: str, remark: str) -> None:
    (world.folder / "damaged.json").write_text('{"format_version": 1, "a": {}}')
    (world.folder / "newer.json").write_text('{"format_version": 2}')
    with pytest.raises((ConfigError, DataError), match=remark):
        world("promote", "second", f"promote.comparison={world.folder / name}")


def test_one_that_lost_its_champion_to_another_is_held_and_may_compare_again(world: Any) -> None:
    world.promote("first")
    world.promote("second", against="first")
    with pytest.raises(
        HeldBackError, match=r"champion: it was compared with version 1 .*, and the champion is version 2"
    ):
        world.promote("third", against="first")
    assert world.aliases() == {"champion": "second", "previous": "first", "challenger": "third"}
    assert world.record("third")["verdict"] == "held"
    world.promote("third", against="second")
    assert world.aliases() == {"champion": "third", "previous": "second"}


def test_a_run_is_the_champion_by_its_folder_and_step(world: Any) -> None:
    world.promote("first")
    side = {**world.side("first"), "kind": "run", "place": str(world.folder / "runs/first"), "identity": None}
    file = world.folder / "comparison.json"
    for step, fits in ((4, False), (5, True)):
        file.write_text(json.dumps(comparison({**side, "step": step}, world.side("second"))))
        if fits:
            assert world("promote", "second", f"promote.comparison={world.folder}")["champion"] == 2
        else:
            with pytest.raises(ConfigError, match=r"A is the run .*first, step 4, not the champion"):
                world("promote", "second", f"promote.comparison={world.folder}")


def test_the_first_model_is_judged_by_its_own_evaluation(world: Any) -> None:
    path = world.folder / "runs/first/evaluation/test.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "calibration_ratio": 1.3}))
    with pytest.raises(HeldBackError, match=r"calibration: calibration is 1\.3000; it must touch \[0\.9, 1\.1\]"):
        world("promote", "first")
    assert world.champion is None
    path.write_text(json.dumps({**values, "step": 4}))
    with pytest.raises(ConfigError, match="of step 4, the artifact of step 5"):
        world("promote", "first")
    path.unlink()
    with pytest.raises(ConfigError, match="run ctrgate evaluate first"):
        world("promote", "first")


def test_an_artifact_that_scores_otherwise_here_is_held(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Artifact, "golden_difference", lambda _: float("nan"))
    with pytest.raises(HeldBackError, match="parity: the golden rows' logits differ by nan"):
        world.promote("first")
    with pytest.raises(HeldBackError):
        world.promote("first", "promote.rules.scores=null")
    assert world.promote("first", "promote.rules.parity=null")["verdict"] == "promoted"


def test_a_damaged_artifact_or_none_is_refused(world: Any) -> None:
    with pytest.raises(ConfigError, match="run ctrgate export first"):
        world.promote("fourth")
    path = world.folder / "runs/first/artifact/network.json"
    path.chmod(0o644)
    path.write_text(path.read_text() + " ")
    with pytest.raises(ArtifactError, match=r"network\.json"):
        world.promote("first")


def test_a_copy_that_was_cut_short_is_made_again(world: Any) -> None:
    world.promote("first")
    version = world.registry.version(1)
    shutil.rmtree(Path(version.source) / "artifact" / "encoder")
    world.registry.copy(version, artifact=Path(version.artifact))  # marked as copied: left alone
    world.registry.tag(1, {"ctrgate.copied": "no"})
    world.registry.copy(world.registry.version(1), artifact=Path(version.artifact))
    Manifest.read(Path(version.source) / "artifact")
    shutil.rmtree(world.folder / "runs/first")
    assert world.champion.artifact == f"{version.source}/artifact"  # the run is gone, its copy serves


def test_without_a_store_that_answers_nothing_is_decided_and_passwords_are_not_told(world: Any) -> None:
    with pytest.raises(ConfigError, match=r"tracking\.enabled"):
        world("promote", "first", "tracking={enabled: false}")
    with pytest.raises(ConfigError, match=r"http://\*\*\*@127.* does not serve as registry") as found:
        world("promote", "first", "tracking={uri: 'http://ann:s3cret@127.0.0.1:9', timeout_seconds: 1}")
    assert "s3cret" not in str(found.value)
    assert not (world.folder / "runs/first/promotion.json").exists()
    assert champion_of(TrackingConfig(uri=f"sqlite:///{world.folder}/none/mlflow.db"), model="small") is None
    assert not (world.folder / "none").exists()


def test_the_command_says_by_its_exit_code_what_came_of_it(world: Any, capfd: pytest.CaptureFixture[str]) -> None:
    def command(name: str, *overrides: str) -> int:
        return main(["promote", str(world.run_file), *world.overrides(name), *overrides])

    assert command("first", "promote.rules.calibration=null") == 0
    assert json.loads(capfd.readouterr().out.splitlines()[-1])["champion"] == 1
    assert command("second") == 2
    comparison_file = world.compared("second", "first", auc=measured(-0.01, 0.001))
    assert command("second", f"promote.comparison={comparison_file}") == 3
    assert "auc: AUC differs by -0.01000" in capfd.readouterr().err
    assert command("second", f"promote.comparison={comparison_file}", "promote.rules.auc=null") == 0
    assert command("second", "promote.rules.aucc=null") == 2
    assert "did you mean auc?" in capfd.readouterr().err
