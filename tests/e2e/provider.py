"""An OpenID Connect provider for tests: it signs in the user that the test names, at once, with its
own keys."""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlparse

import pytest

# Signing in needs Authlib and httpx; joserfc comes with Authlib.
pytest.importorskip("authlib")
pytest.importorskip("httpx")
jwt = pytest.importorskip("joserfc.jwt")
jwk = pytest.importorskip("joserfc.jwk")

CLIENT, SECRET = "thaw", "not-a-secret"


class Provider:
    """A provider at `url`.

    user: claims of the next user to sign in, such as email and email_verified. redeemed: how many
    codes were exchanged for an identity.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.user: dict[str, Any] = {}
        self.redeemed = 0
        self._key = jwk.RSAKey.generate_key(2048, {"kid": "test", "use": "sig", "alg": "RS256"})
        self._asked: dict[str, dict[str, str]] = {}

    def discovery(self) -> dict[str, Any]:
        """Where everything is."""
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
        }

    def keys(self) -> dict[str, Any]:
        """What its signatures are checked with."""
        return {"keys": [self._key.as_dict(private=False)]}

    def authorize(self, asked: dict[str, str]) -> str:
        """The address that the browser is sent back to, with a code."""
        assert (
            asked["client_id"] == CLIENT
            and asked["response_type"] == "code"
            and "openid" in asked["scope"]
        )
        code = secrets.token_hex(8)
        self._asked[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self, given: dict[str, str], authorization: str) -> dict[str, Any]:
        """The identity for a code, valid once, if the client's secret and the code's verifier are
        right."""
        basic = f"Basic {base64.b64encode(f'{CLIENT}:{SECRET}'.encode()).decode()}"
        assert authorization == basic or given.get("client_secret") == SECRET
        asked = self._asked.pop(given["code"])
        digest = hashlib.sha256(given["code_verifier"].encode()).digest()
        assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": "1",
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
        }
        self.redeemed += 1
        return {
            "access_token": secrets.token_hex(8),
            "token_type": "Bearer",
            "expires_in": 300,
            "id_token": jwt.encode({"alg": "RS256", "kid": "test"}, claims | self.user, self._key),
        }


@contextmanager
def running_provider() -> Iterator[Provider]:
    """A provider on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlparse(self.path)
            if address.path == "/authorize":
                self.send_response(302)
                asked = {name: values[0] for name, values in parse_qs(address.query).items()}
                self.send_header("Location", provider.authorize(asked))
                self.end_headers()
            else:
                paths = {
                    "/.well-known/openid-configuration": provider.discovery,
                    "/keys": provider.keys,
                }
                self.answer(paths[address.path]())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            given = {name: values[0] for name, values in parse_qs(body).items()}
            self.answer(provider.token(given, self.headers.get("Authorization", "")))

        def answer(self, values: dict[str, Any]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(values).encode())

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        provider = Provider(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield provider
        server.shutdown()
