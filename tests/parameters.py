"""Parameters that tests of several files have."""

import pytest

from tests.mcp_client import PROTOCOL_MODES

#: For what does not depend on the kind of the store.
one_store = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
#: For what SQLite does not have: it has one writer at a time and locks no rows.
on_postgresql = pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
#: A session, or each request by itself.
both_eras = pytest.mark.parametrize("era", PROTOCOL_MODES)
