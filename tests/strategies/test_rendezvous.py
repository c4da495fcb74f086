"""Each start of a job, and each group of its processes, has keys of its own in the launcher's store."""

from itertools import combinations

import pytest
from torch.distributed import TCPStore
from torch.distributed.rendezvous import rendezvous

from accel_clf.strategies.rendezvous import RESTARTS


@pytest.fixture
def launcher_store(monkeypatch: pytest.MonkeyPatch) -> TCPStore:
    """The store of a launcher, which outlives the processes that it starts; this is its only one."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port, "RANK": 0, "WORLD_SIZE": 1}
    for name, value in (variables | {"TORCHELASTIC_USE_AGENT_STORE": True}).items():
        monkeypatch.setenv(name, str(value))
    return store


def test_starts_and_groups_do_not_see_each_others_keys(
    launcher_store: TCPStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = []
    for restarts in (0, 0, 1):  # two runs of one script, then the launcher's restart
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(restarts))
        store, rank, world_size = next(rendezvous(f"{RESTARTS}://"))
        assert (rank, world_size) == (0, 1)
        stores.append(store)
    for number, store in enumerate(stores):
        store.set("address", str(number))
    assert [store.get("address") for store in stores] == [b"0", b"1", b"2"]
    assert not launcher_store.check(["address"])
    for store, other in combinations(stores, 2):
        store.set("only here", "yes")
        assert not other.check(["only here"])
