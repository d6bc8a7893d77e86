"""Every example of every page runs on a real stack and answers what the page shows."""

from collections.abc import Iterator

import pytest

from tests.models import FakeModel
from tests.pages.blocks import DRAWN, EXPECTED, RUN, read_blocks
from tests.pages.example_runner import ExampleRunner
from tests.pages.guide_runner import GUIDES
from tests.pages.live_stack import LiveStack
from tests.pages.webhook_receivers import use_receivers
from understudy.documentation import FOLDER, SLUGS

#: Further tests of the programs of a page.
_MORE_TESTS = {"guides/webhooks": use_receivers}


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    with FakeModel.serving() as model:
        settings = {"BASE_URL": model.base_url, "MODEL": "walker"}
        with LiveStack.of(tmp_path_factory.mktemp("stage"), settings) as stage:
            yield stage


README = FOLDER.parent / "README.md"
#: `tests/e2e/test_guides.py` follows the others.
FILES = {"README": README, **{slug: FOLDER / f"{slug}.md" for slug in SLUGS if slug not in GUIDES}}


@pytest.mark.parametrize("slug", FILES)
def test_the_examples_of_a_page_answer_what_it_shows(stage: LiveStack, slug: str) -> None:
    runner = ExampleRunner(stage, FILES[slug])
    try:
        runner.run()
        if slug in _MORE_TESTS:
            _MORE_TESTS[slug](stage, runner.files)
    finally:
        stage.clear()


@pytest.mark.parametrize("slug", FILES)
def test_every_block_is_run_or_is_a_drawing(slug: str) -> None:
    kinds = {block.kind for block in read_blocks(FILES[slug])}
    assert kinds <= RUN | EXPECTED | DRAWN
