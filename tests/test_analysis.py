"""The scripts of analysis/ draw what a study holds beside the published values, and refuse what they cannot draw."""

import runpy
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from figures.synthetic_networks import (
    Recipe,
    all_rank,
    direct,
    layerwise,
    make_network_run,
    resnets,
    task_dimension,
    vgg,
    widths,
)

from rfmodel import store

SCRIPTS = Path(__file__).parent.parent / "analysis"


@pytest.fixture(autouse=True)
def coarse_pictures(monkeypatch):
    monkeypatch.setattr(import_module("rfmodel.figures.theme"), "DPI", 40)


def keep(folder, recipes, published=0.6):
    """Write a study of made-up runs as `rfmodel run` would, its first condition with a published value."""
    text = (
        'title = "Made up"\n[published]\nscore = "best test epoch"\nevidence = "digitised"\n[published.settings]\n'
        f'"train.epochs" = 160\n[[published.values]]\ncondition = "{recipes[0].condition}"\naccuracy = {published}\n'
        '[[published.values]]\ncondition = "another"\naccuracy = 0.5\n'
    )
    store.prepare(folder, text)
    for position, recipe in enumerate(recipes):
        for seed in (0, 1):
            name = f"{position}_seed{seed}_000000000000"
            run = make_network_run(recipe, seed, epochs=3).assign_attrs(position=position, name=name)
            store.save(run, store.run_path(folder, name))
    return str(folder)


def call(monkeypatch, name, *arguments):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr(sys, "argv", [str(SCRIPTS / f"{name}.py"), *map(str, arguments)])
    runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")


@pytest.mark.parametrize(
    ("name", "studies"),
    [
        (
            "mlp_rank",
            (all_rank((10, 64)), layerwise((1, 2), (1, 4)), task_dimension((50, 75), (10, 50)), direct((1, 4))),
        ),
        ("vgg_rank", (vgg(),)),
        ("vit_rank", (widths(), [*widths()[:1]])),
        ("resnet_rules", (resnets()[:9],)),
    ],
)
def test_script_writes_a_picture_and_a_page_with_what_made_it(name, studies, tmp_path, monkeypatch):
    folders = [keep(tmp_path / f"study{i}", recipes) for i, recipes in enumerate(studies)]
    call(monkeypatch, name, *folders, "--out", tmp_path / "out", "--command", "rfmodel run all")
    assert (tmp_path / "out" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "out" / f"{name}.md").read_text(encoding="utf-8")
    assert page.count("seeds [0, 1], commit 0123abc, a processor, 1 thread(s), fp32; data cifar10") == len(studies)
    assert "    rfmodel run all\n" in page and f"    python analysis/{name}.py" in page
    first = studies[0][0]
    mean = 100 * (first.accuracy + 0.0005)
    assert f"| {first.condition} | 2 | {mean:.2f} (" in page
    assert f"| 60.00 | {mean - 60:+.2f} |" in page
    assert "train.epochs 3, theirs 160; last epoch, theirs best test epoch |" in page
    assert "| another | 0 | | 50.00 | | | not run yet |" in page


def test_what_a_person_wrote_below_the_table_stays(tmp_path, monkeypatch):
    folder = keep(tmp_path / "study", all_rank((10,)))
    for _ in range(2):
        call(monkeypatch, "mlp_rank", folder, "--out", tmp_path, "--name", "mine")
        page = (tmp_path / "mine.md").read_text(encoding="utf-8")
        if "## Reading" not in page:
            (tmp_path / "mine.md").write_text(page + "\n## Reading\n\nIt falls with rank.\n", encoding="utf-8")
    assert page.endswith("\n## Reading\n\nIt falls with rank.\n") and page.count("It falls") == 1


@pytest.mark.parametrize(
    ("name", "recipes", "said"),
    [
        ("vgg_rank", all_rank(), "holds networks mlp, and this figure is of vgg"),
        ("mlp_rank", all_rank()[:2], "holds no condition with a rank"),
    ],
)
def test_study_that_holds_nothing_to_draw_is_refused_in_one_line(name, recipes, said, tmp_path, monkeypatch, capsys):
    folder = keep(tmp_path / "study", recipes)
    with pytest.raises(SystemExit) as caught:
        call(monkeypatch, name, folder, "--out", tmp_path / "out")
    error = capsys.readouterr().err
    assert caught.value.code == 2 and said in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_folder_that_is_no_study_is_refused_in_one_line(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as caught:
        call(monkeypatch, "vit_rank", tmp_path / "nowhere")
    assert caught.value.code == 2 and "nowhere" in capsys.readouterr().err


FEW = ("--draws", "4", "--networks", "1", "--samples", "200", "--units", "2")


def retina(folder, conditions, state="done", dead=False):
    """Write a study of two-channel Retina-VVS runs with fields, as `rfmodel run` would."""
    store.prepare(folder, 'title = "Made up"\n')
    rf = np.random.default_rng(0).normal(size=(1, 2, 32, 32))
    for position, (bottleneck, depth) in enumerate(conditions):
        recipe = Recipe(f"bottleneck {bottleneck}, depth {depth}", 0.6, network="retina_vvs", depth=depth)
        name = f"{position}_seed0_000000000000"
        run = make_network_run(recipe, 0, state=state).assign_attrs(position=position, bottleneck=bottleneck, name=name)
        run["rf"] = ("stage", "unit", "y", "x"), rf * np.where(dead, np.nan, 1)
        run["status"] = ("stage", "unit"), [["dead" if dead else "ok"] * 2]
        run = run.assign_coords(stage=["trained"], unit=["retina.conv2/0", "retina.conv2/1"])
        store.save(run, store.run_path(folder, name))
    return folder


def test_published_numbers_of_fields_stand_beside_ours(tmp_path, monkeypatch):
    folder = retina(tmp_path / "study", ((1, 2), (4, 0)))
    found = xr.Dataset(
        {"linearity_image_to_layer": ("analysed_layer", [0.6])}, {"analysed_layer": ["retina.relu2"]}
    ).assign_attrs(store.load(store.run_path(folder, "1_seed0_000000000000")).attrs)
    store.save(store.together([found]), folder / "analyses.nc")
    dead = retina(tmp_path / "dead", ((32, 2),), dead=True)
    lost = retina(tmp_path / "lost", ((32, 0),), state="diverged")
    call(monkeypatch, "published_fields", folder, dead, lost, *FEW, "--out", tmp_path)
    page = (tmp_path / "published_fields.md").read_text(encoding="utf-8")
    assert "| .80 | .227 / .227 / 0 | .385 / .385 / 0 | .435 / .435 / 0 |" in page  # circular Gabors, closed forms
    assert "| elliptical DoG | even circular Gabor, nx .30 | .88 / .88 / 0 |" in page
    assert "| linear | 1.000 / 1.000 / 0 |" in page and "| 9.5 / 9.5 / 0 | 50 / 50 / 0 |" in page
    assert "| isotropic DoG | 1.13 / 1.13 / 0 |" in page and "| 100 / 100 / 0 | 100 / 100 / 0 |" in page
    assert "| bottleneck 4, depth 0; seed 0 | `retina.relu2` | .600 / .584 / +.016 |" in page
    assert (
        page.count("/ 71.5 / ") == 1
        and page.count("/ 71.6 / ") == 1
        and "none | none |" in page.split("## Trained networks")[2]
    )
    assert "bottleneck 32, depth 0; seed 0; diverged" in page and page.count("No analyses.nc in the study") == 2


def test_published_fields_refuses_a_study_of_other_networks_in_one_line(tmp_path, monkeypatch, capsys):
    folder = keep(tmp_path / "study", all_rank()[:1])
    with pytest.raises(SystemExit) as caught:
        call(monkeypatch, "published_fields", folder, *FEW, "--out", tmp_path / "out")
    assert (
        caught.value.code == 2 and "holds networks mlp, and these values are of retina_vvs" in capsys.readouterr().err
    )
