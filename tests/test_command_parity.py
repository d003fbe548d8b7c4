"""Whatever a page does, a command does: read from the code of both, so that a new action without
one fails."""

import argparse
import ast
from collections.abc import Callable

import pytest

from core.cli.parser import build_parser
from core.workspace import PROJECT
from tests.code_graph import Graph, build_graph, reachable, reaching, read_sources

WRITES = {
    "core.read_only:require_writable",
    "core.files.durable:publish_folder",
    "core.files.durable:remove_folder",
    "core.files.durable:remove_folders",
    "core.workspace:write_atomic",
    "core.workspace:write_json",
    "shutil:rmtree",
}
"""What marks a function as one that changes the workspace, whether by itself or by what it
calls."""

FRONTS = {
    "core.models.model_stats:count_in_background": "costs",
    "core.runs.subprocess_commands:import_in_subprocess": "import-backbone",
    "core.runs.subprocess_commands:report_in_subprocess": "report",
    "core.runs.artifacts:export_and_store": "export",
    "core.runs.artifacts:score_and_store": "score",
    "core.runs.artifacts:verify_and_store": "verify",
    "core.runs.subprocess_commands:weight_drift_in_subprocess": "moved",
}
"""What pages call to run a command in its own process: the command that it is."""

BUTTONS: dict[str, tuple[str, ...]] = {
    "pages.components.data.add_sample:_file_form": ("ingest",),
    "pages.components.data.add_sample:_show_refusal": ("ingest",),
    "pages.components.data.add_sample:_simulate_form": ("simulate",),
    "pages.components.backbones.backbone_card:confirm_delete": ("delete",),
    "pages.components.backbones.backbone_card:more_actions": ("delete",),
    "pages.components.backbones.backbone_shelf:import_form": ("import-backbone",),
    "pages.components.home.demo:demo_box": ("demo",),
    "pages.components.shared.interpolation:interpolation_section": ("interpolate",),
    "pages.components.shared.weight_drift:measure_weight_drift_button": ("moved",),
    "pages.components.backbones.pretrain_form:launch_button": ("pretrain",),
    "pages.components.compare.blend_runs:blend_section": ("blend",),
    "pages.components.compare.run_actions:show_run_actions": ("tag", "delete"),
    "pages.components.compare.run_actions:annotate_dialog": ("note",),
    "pages.components.compare.run_actions:confirm_delete": ("delete",),
    "pages.components.score.scoring_result:show_downloads": ("delete-scored",),
    "pages.components.data.split_form:prepare_button": ("prepare",),
    "pages.components.sweep.blend_arms:blend_popover": ("blend",),
    "pages.components.sweep.search_form:_launch": ("search",),
    "pages.components.sweep.sweep_form:_launch": ("sweep",),
    "pages.components.sweep.sweep_view:_header": ("cancel", "resume"),
    "pages.components.sweep.sweep_view:_add_seeds": ("sweep",),
    "pages.components.run.against_controls:_offer": ("controls",),
    "pages.components.sweep.sweep_recommendation:_seeds_button": ("sweep",),
    "pages.components.run.why:_fields": ("importance",),
    "pages.components.run.why:_one_row": ("explain",),
    "pages.components.run.why:_response": ("response",),
    "pages.components.run.calibration:_use_buttons": ("calibrate",),
    "pages.components.run.use_run:_export": ("export",),
    "pages.components.run.use_run:_verify": ("verify",),
    "pages.data:remove_dataset": ("delete",),
    "pages.data:remove_sample": ("delete",),
    "pages.finetune:launch_section": ("finetune",),
    "pages.run:annotations_form": ("rename",),
    "pages.run:show_header": ("cancel", "resume"),
    "pages.score:scoring_form": ("score",),
}
"""For every function of a page that draws buttons which change something: the commands of those
buttons, in order."""

DOWNLOADS = {
    "pages.components.backbones.backbone_card:more_actions": "export-backbone",
    # The file is what `ingest --columns` reads: a command is given the mapping, and has none to
    # write.
    "pages.components.shared.read_options_form:_choose_columns": "ingest",
    "pages.components.shared.report_download:show_report_offer": "report",
    "pages.components.compare.run_actions:show_run_actions": "runs",
    "pages.components.score.scoring_result:show_downloads": "score",
    "pages.components.sweep.sweep_downloads:show_downloads": "compare",
    "pages.components.run.use_run:_export": "export",
}
"""For every function of a page that offers a file: the command that writes it."""


def commands() -> dict[str, Callable[..., object]]:
    """The function behind each command, as the parser has it."""
    choices: dict[str, Callable[..., object]] = {}
    for action in build_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            choices |= {name: parser.get_default("run") for name, parser in action.choices.items()}
    return choices


def nodes() -> dict[str, str]:
    """Each command's node in the graph."""
    return {name: f"{run.__module__}:{run.__qualname__}" for name, run in commands().items()}


def page_actions(graph: Graph) -> tuple[set[str], set[str]]:
    """(functions of the core that pages refer to and that change something, those of them that
    commands reach)."""
    changing = reaching(graph, WRITES)
    of_pages: set[str] = set()
    for node, others in graph.items():
        if node.startswith("pages."):
            of_pages |= {
                other for other in others if other.startswith("core.") and other in changing
            }
    # Neither classes nor constants do anything by themselves.
    of_pages = {one for one in of_pages if one.replace(":", ".").rpartition(".")[2].islower()}
    return of_pages, of_pages & reachable(graph, nodes().values())


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    return read_sources(PROJECT, "core", "pages")


@pytest.fixture(scope="module")
def graph(sources: dict[str, str]) -> Graph:
    return build_graph(sources, nodes())


def test_every_command_has_a_function() -> None:
    found = commands()
    assert len(found) > 30 and all(found.values()), [
        name for name, run in found.items() if run is None
    ]


def test_whatever_a_page_changes_a_command_changes(graph: Graph) -> None:
    of_pages, reached = page_actions(graph)
    known = {
        "core.jobs.store:RunStore.request_cancel",
        "core.jobs.store:RunStore.annotate",
        "core.runs.submit:resume_run",
        "core.runs.sweep:extend_sweep",
        "core.runs.removal:delete_unused_dataset",
        "core.data.reading.ingest:ingest",
        "core.data.dataset_rows:measure_coverage",
        "core.runs.demo:run_demo",
        "core.runs.artifacts:score_and_store",
    }
    assert known <= of_pages, f"the walk does not see {known - of_pages}"
    missing = of_pages - reached - set(FRONTS)
    assert not missing, (
        f"pages do {sorted(missing)}, and no command does; add one, or a front of a command to"
        " FRONTS"
    )


def test_what_stands_in_front_of_a_command_runs_that_command(graph: Graph) -> None:
    found, used = nodes(), page_actions(graph)[0]
    for front, command in FRONTS.items():
        assert front in used, f"no page calls {front} any more"
        assert found[command] in reachable(graph, [front]), (
            f"{front} does not run the command {command!r}"
        )


@pytest.mark.parametrize(
    "page",
    [
        "from core.fake import burn\nburn()",
        "from core import fake\nfake.burn()",
        "from core.fake import burn\nimport streamlit as st\nst.button('Burn', on_click=burn)",
        "from core.fake import Fire\nfire = Fire()\ndef draw():\n    fire.burn()",
        "from core.fake import Fire\ndef draw(fire: Fire):\n    fire.burn()",
        "from core.fake import Fire\ndef draw():\n    with shown():\n        Fire().burn()",
        "from core.fake import burn_all\nburn_all()",
    ],
)
def test_a_new_action_without_a_command_is_seen(
    page: str, graph: Graph, sources: dict[str, str]
) -> None:
    fake = """
from core.read_only import require_writable

def burn():
    require_writable()

def burn_all():
    for place in range(3):
        burn()

class Fire:
    def burn(self):
        require_writable()
"""
    added = build_graph({"core.fake": fake, "pages.fake": page}, nodes(), sources)
    of_pages, reached = page_actions({**graph, **added})
    assert {one for one in of_pages - reached if one.startswith("core.fake:")}


def test_every_button_that_changes_something_and_every_file_has_a_command(
    sources: dict[str, str],
) -> None:
    buttons: dict[str, int] = {}
    files: set[str] = set()
    for module, text in sources.items():
        if not module.startswith("pages") or module == "pages.components.shared.access":
            continue
        for function in ast.walk(ast.parse(text)):
            if not isinstance(function, ast.FunctionDef):
                continue
            called = [
                ast.unparse(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)
            ]
            if number := sum(name in ("guarded_button", "guarded_form_button") for name in called):
                buttons[f"{module}:{function.name}"] = number
            if any(name.endswith("download_button") for name in called):
                files.add(f"{module}:{function.name}")
    assert buttons == {place: len(names) for place, names in BUTTONS.items()}
    assert files == set(DOWNLOADS)
    asked = {name for names in BUTTONS.values() for name in names} | {
        *DOWNLOADS.values(),
        *FRONTS.values(),
    }
    assert asked <= set(commands())
