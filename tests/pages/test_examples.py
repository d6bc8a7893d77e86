"""Every example of every page is run on a real stack, and answers what the page says."""

from collections.abc import Iterator

import pytest

from tests.pages.blocks import DRAWN, EXPECTED, RUN, read_blocks
from tests.pages.example_runner import ExampleRunner
from tests.pages.live_stack import LiveStack
from tests.pages.web_apps import use_web_apps
from understudy.documentation import FOLDER, SLUGS

#: What is done with the programs of a page.
_AND_THEN = {"guides/from-a-web-app": use_web_apps}


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    with LiveStack.of(tmp_path_factory.mktemp("stage")) as stage:
        yield stage


README = FOLDER.parent / "README.md"
FILES = {"README": README, **{slug: FOLDER / f"{slug}.md" for slug in SLUGS}}


@pytest.mark.parametrize("slug", FILES)
def test_the_examples_of_a_page_do_what_it_says(stage: LiveStack, slug: str) -> None:
    player = ExampleRunner(stage, FILES[slug])
    try:
        player.run()
        if slug in _AND_THEN:
            _AND_THEN[slug](stage, player.files)
    finally:
        stage.clear()


@pytest.mark.parametrize("slug", FILES)
def test_every_block_is_run_or_is_a_drawing(slug: str) -> None:
    kinds = {block.kind for block in read_blocks(FILES[slug])}
    assert kinds <= RUN | EXPECTED | DRAWN
