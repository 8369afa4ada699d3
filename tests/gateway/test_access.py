"""Who is let in, as whom, and to do what."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from jwt.algorithms import OKPAlgorithm, RSAAlgorithm

from lakerunner.errors import ConfigurationError
from lakerunner.gateway.access import Access, Refused
from lakerunner.gateway.credentials import AccessScope, AccessSettings, ApiKey, JwtSettings, new_key

if TYPE_CHECKING:
    from pathlib import Path

KEY, KEPT = new_key("dashboards", ("acme",))


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"authorization": basic(f"anybody:{KEY}")},
        {"authorization": f"Splunk {KEY}"},
        {"x-api-key": KEY},
        {"api-key": KEY},
        {"x-cardinalhq-api-key": KEY},
        {"dd-api-key": KEY},
    ],
)
def test_a_key_is_taken_from_where_clients_put_it(headers: dict[str, str]) -> None:
    caller = Access(AccessSettings((KEPT,))).caller(headers, {})
    assert caller == ("dashboards", "acme", AccessScope.READ)


def test_a_key_is_taken_from_a_cookie() -> None:
    assert Access(AccessSettings((KEPT,))).caller({}, {"api_key": KEY}).organization == "acme"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": f"Bearer {KEY}x"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer a.b.c"},
        {"authorization": "Digest x"},
        {"authorization": "Basic %%%"},
        {"authorization": basic("no colon")},
        {"x-api-key": "\udcff"},
    ],
)
def test_nobody_else_is_let_in(headers: dict[str, str]) -> None:
    with pytest.raises(Refused) as refused:
        Access(AccessSettings((KEPT,))).caller(headers, {})
    assert refused.value.status == 401
    assert KEY not in str(refused.value)


def test_unknown_and_expired_keys_get_the_same_answer() -> None:
    old, kept = new_key("old", expires=datetime.now(UTC) - timedelta(seconds=1))
    access = Access(AccessSettings((KEPT, kept)))
    said = set()
    for shown in (old, "lr_unknown"):
        with pytest.raises(Refused) as refused:
            access.caller({"x-api-key": shown}, {})
        said.add((refused.value.status, str(refused.value)))
    assert len(said) == 1


def test_the_organization_is_that_of_the_key_and_nothing_else() -> None:
    access = Access(AccessSettings((KEPT,)))
    headers = {"x-api-key": KEY, "x-scope-orgid": "webshop"}
    with pytest.raises(Refused) as refused:
        access.caller(headers, {})
    assert refused.value.status == 403
    assert access.caller({**headers, "x-scope-orgid": "acme"}, {}).organization == "acme"


def test_a_key_for_several_organizations_has_to_choose() -> None:
    key, kept = new_key("all", ("acme", "webshop"), AccessScope.ADMIN)
    access = Access(AccessSettings((kept,)))
    chosen = access.caller({"x-api-key": key, "x-scope-orgid": "webshop"}, {})
    assert chosen == ("all", "webshop", AccessScope.ADMIN)
    for others in ({}, {"x-scope-orgid": "another"}):
        with pytest.raises(Refused) as refused:
            access.caller({"x-api-key": key, **others}, {})
        assert refused.value.status == 403


def test_strangers_are_let_in_only_where_that_is_said() -> None:
    access = Access(AccessSettings(anonymous="demo"))
    assert access.caller({}, {}) == ("anonymous", "demo", AccessScope.READ)
    with pytest.raises(Refused):
        access.caller({"x-scope-orgid": "acme"}, {})
    with pytest.raises(Refused):
        access.caller({"x-api-key": "wrong"}, {})


def test_what_is_kept_of_a_key_does_not_tell_it() -> None:
    assert KEY not in repr(KEPT)
    assert len({new_key("a")[0] for _ in range(100)}) == 100
    with pytest.raises(ConfigurationError, match="64 hex"):
        ApiKey("plain", "secret")
    with pytest.raises(ConfigurationError, match="no organization"):
        ApiKey("nobody", "0" * 64, ())


@pytest.fixture(scope="module", params=["HS256", "RS256", "EdDSA"])
def signed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Settings that take tokens, and what signs them."""
    directory: Path = tmp_path_factory.mktemp("jwt")
    algorithm = request.param
    file = directory / "keys"
    private: Any
    if algorithm == "HS256":
        private = "a shared secret that is long enough for anybody"
        file.write_text(private + "\n")
        settings = JwtSettings((algorithm,), secret_file=str(file), issuer="me", audience="lake")
    else:
        if algorithm == "RS256":
            private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            public = RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
        else:
            private = ed25519.Ed25519PrivateKey.generate()
            public = OKPAlgorithm.to_jwk(private.public_key(), as_dict=True)
        file.write_text(json.dumps({"keys": [{**public, "kid": "one", "alg": algorithm}]}))
        settings = JwtSettings((algorithm,), jwks_file=str(file), issuer="me", audience="lake")

    def sign(**claims: Any) -> str:
        whole = {
            "exp": time.time() + 60, "iss": "me", "aud": "lake", "sub": "kim", "org_id": "acme",
        } | claims  # fmt: skip
        kept = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(kept, private, algorithm, headers={"kid": "one"})

    return Access(AccessSettings(jwt=settings)), sign


def test_a_token_says_who_asks(signed: Any) -> None:
    access, sign = signed
    assert access.caller({"authorization": f"Bearer {sign()}"}, {}) == (
        "kim",
        "acme",
        AccessScope.READ,
    )
    token = sign(lakerunner_scope="write")
    assert access.caller({"authorization": f"Bearer {token}"}, {}).scope == AccessScope.WRITE


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 1},
        {"exp": None},
        {"iss": "another"},
        {"aud": "another"},
        {"org_id": None},
        {"org_id": "../acme"},
        {"org_id": 7},
        {"lakerunner_scope": "everything"},
    ],
)
def test_a_token_that_is_not_good_is_refused(signed: Any, claims: dict[str, Any]) -> None:
    access, sign = signed
    with pytest.raises(Refused):
        access.caller({"authorization": f"Bearer {sign(**claims)}"}, {})


def test_a_token_without_a_signature_is_refused(signed: Any) -> None:
    access, _ = signed
    claims = {"exp": time.time() + 60, "iss": "me", "aud": "lake", "org_id": "acme"}
    for token in (
        jwt.encode(claims, "", "none"),
        jwt.encode(claims, "another secret that is long enough, too", "HS256"),
    ):
        with pytest.raises(Refused):
            access.caller({"authorization": f"Bearer {token}"}, {})
