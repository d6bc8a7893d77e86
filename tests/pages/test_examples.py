"""Every example of every page is run on a real stack, and answers what the page says."""

from collections.abc import Iterator

import pytest

from api.service.docs import FOLDER, SLUGS
from tests.pages.blocks import DRAWN, EXPECTED, RUN, read_blocks
from tests.pages.player import Player
from tests.pages.stage import Stage


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage.of(tmp_path_factory.mktemp("stage")) as stage:
        yield stage


@pytest.mark.parametrize("slug", SLUGS)
def test_the_examples_of_a_page_do_what_it_says(stage: Stage, slug: str) -> None:
    try:
        Player(stage, FOLDER / f"{slug}.md").play()
    finally:
        stage.clear()


@pytest.mark.parametrize("slug", SLUGS)
def test_every_block_is_run_or_is_a_drawing(slug: str) -> None:
    kinds = {block.kind for block in read_blocks(FOLDER / f"{slug}.md")}
    assert kinds <= RUN | EXPECTED | DRAWN
