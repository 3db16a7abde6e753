"""Ids that are made here: UUIDs of version 4, never the same twice."""

from __future__ import annotations

import os
import sys
import uuid

import pytest

from taskqueue.ids import new_id


def test_ids_are_uuids_of_version_4_in_their_usual_text() -> None:
    """A thousand of them, more than are made at once, are all different and read back the same."""
    made = [new_id() for _ in range(1000)]

    assert len(set(made)) == 1000
    for text in made:
        read = uuid.UUID(text)
        assert str(read) == text
        assert (read.version, read.variant) == (4, uuid.RFC_4122)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_makes_other_ids_than_its_parent() -> None:
    """The parent has ids in store when it forks; the child must not hand out the same ones."""
    new_id()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, new_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    of_child = os.read(reader, 100).decode()
    os.close(reader)
    os.close(writer)

    assert of_child
    assert of_child not in {new_id() for _ in range(300)}
