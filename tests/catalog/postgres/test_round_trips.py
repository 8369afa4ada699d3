"""How often a commit waits for the server: counted on the wire."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from lakerunner.catalog.postgres import PostgresCatalog
from lakerunner.testing.catalog_fixture import A, B, ids
from lakerunner.testing.values import make_commit, make_segment, make_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.testing.servers.postgres import PostgresServer


class Turns:
    """Passes bytes between a client and a server, and counts how often the server's turn ends.

    A server answers when it is told that a pipeline ends (`Sync`, or a simple query), with one
    `ReadyForQuery`: each is a wait of the client.
    """

    def __init__(self, port: int) -> None:
        self.count = 0
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._sockets: list[socket.socket] = []
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._server_port))
            self._sockets += [client, server]
            for source, target, counted in ((client, server, False), (server, client, True)):
                thread = threading.Thread(target=self._pump, args=(source, target, counted))
                self._threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        held = b""
        while data := _received(source):
            if counted:
                held += data
                while len(held) >= 5 and len(held) > (size := int.from_bytes(held[1:5], "big")):
                    self.count += held[:1] == b"Z"
                    held = held[size + 1 :]
            try:
                target.sendall(data)
            except OSError:
                return  # it was ended

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._sockets:
            with suppress(OSError):  # it has ended by itself
                each.shutdown(socket.SHUT_RDWR)  # closing it would not wake who reads from it
        for thread in self._threads:
            thread.join()
        for each in self._sockets:
            each.close()


def _received(source: socket.socket) -> bytes:
    try:
        return source.recv(1 << 16)
    except OSError:
        return b""


@contextmanager
def counted(server: PostgresServer, url: str) -> Iterator[tuple[PostgresCatalog, Turns]]:
    turns = Turns(server.port)
    try:
        near = url.replace(f":{server.port}/", f":{turns.port}/") + "&gssencmode=disable"
        with PostgresCatalog(near + "&sslmode=disable") as catalog:
            ids(catalog)
            yield catalog, turns
    finally:
        turns.close()


def test_a_commit_is_two_round_trips(server: PostgresServer, url: str) -> None:
    with counted(server, url) as (catalog, turns):
        catalog.commit(make_commit("c1", add=[make_segment("a"), make_segment("b")], take=[A]))
        before = turns.count
        sources = [make_source(f"s{number}") for number in range(100)]
        catalog.commit(
            make_commit("c2", add=[make_segment("c")], remove=["a"], take=sources, reject=[B])
        )
        assert turns.count - before == 2
        assert ids(catalog) == ["b", "c"]
        catalog.purge(["a"])  # which packs the ledger of sources, too: upkeep, and nobody waits
        before = turns.count
        assert ids(catalog) == ["b", "c"]
        assert turns.count - before == 1


def test_nothing_is_compiled(url: str) -> None:
    with PostgresCatalog(url) as catalog, catalog._pool.lent() as connection:
        assert connection.execute("SHOW jit").fetchall() == [("off",)]
