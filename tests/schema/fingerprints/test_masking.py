"""Which parts of a message are variable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = {
    "numbers": ("took 5.25 ms, 3% of -12", "took <*> ms, <*>% of <*>"),
    "units": ("used 300MB of 1.5GiB", "used <*> of <*>"),
    "ids": (
        "span e1ea24c4f9341c68 of 3edec1e4-9678-4a3a-abcd-a145a4ee5e61",
        "span <*> of <*>",
    ),
    "hex without digits": ("object deadbeef freed", "object <*> freed"),
    "addresses": ("from 10.0.0.7:5010 to fe80::1ff:fe23:4567:890a", "from <*> to <*>"),
    "hardware addresses": ("eth de:ad:be:ef:00:aa up", "eth <*> up"),
    "times": ("at 2024-05-01T10:11:12.5Z", "at <*>"),
    "dates": ("started Sat Jul  9 12:53:03 2005 ok", "started <*> ok"),
    "access log": (
        '10.0.0.1 - - [28/Dec/2020:19:06:11 +0000] "GET / HTTP/1.1" 200',
        '<*> - - [<*>] "GET <*> HTTP/<*>" <*>',
    ),
    "no dates": ("Monitor 5 and Decoder 7", "Monitor <*> and Decoder <*>"),
    "urls": ("GET https://acme.example/cart?a=b failed", "GET <*> failed"),
    "e-mail": ("mail to ann.lee@example.org bounced", "mail to <*> bounced"),
    "paths": ("open /etc/hosts and ~/x and C:\\temp\\x", "open <*> and <*> and <*>"),
    "no path": ("read/write and n/a", "read/write and n/a"),
    "hosts": ("to db.internal, mail.acme.co.uk.", "to <*>."),
    "no hosts": (
        "java.net.SocketException in org.apache.Foo of main.py",
        "java.net.SocketException in org.apache.Foo of main.py",
    ),
    "quoted": ('key \'a b\' is "x \\" y" not `z`', "key <*> is <*> not <*>"),
    "apostrophes": ("can't get client's name", "can't get client's name"),
    "values": ("level=info user=ann rhost= x", "level=<*> user=<*> rhost= x"),
    "logfmt": (
        'ts=2024-01-01 msg="user created" err="no \\"x\\""',
        'ts=<*> msg="user created" err=<*>',
    ),
    "names": (
        "session opened for user root by (uid=0)",
        "session opened for user <*> by (uid=<*>)",
    ),
    "empty names": ("Invalid user  from 10.1.2.3", "Invalid user <*> from <*>"),
    "passwords": ("Failed password for invalid user ann", "Failed password for invalid user <*>"),
    "no names": ("user created", "user created"),
    "compounds": ("worker-12 wrote app.log.3", "<*> wrote <*>"),
    "lists": ("ids [1, 2, 3] of 7; 8", "ids [<*>] of <*>"),
    "details": ("from 10.0.0.1 (host1.acme.com) at", "from <*> at"),
    "missing details": ("from 10.0.0.1 () at", "from <*> at"),
    "labels": ("from 10.0.0.1: 11: Bye", "from <*>: <*>: Bye"),
    "spaces": ("  a \t b\r", "a b"),
    "encoded": ("token " + "aB" * 40, "token <*>"),
    "not ASCII": ("größe überschritten: 5 😀", "größe überschritten: <*> 😀"),
    "punctuation": ("*** !!! ***", "*** !!! ***"),
    "nothing": ("", ""),
    "only a variable": ("42", "<*>"),
}


@pytest.mark.parametrize(("body", "expected"), EXAMPLES.values(), ids=EXAMPLES)
def test_examples(template: Callable[[str], str], body: str, expected: str) -> None:
    assert template(body) == expected
