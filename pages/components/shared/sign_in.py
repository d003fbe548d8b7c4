"""Optional sign-in by OpenID Connect: where the server's secrets hold [auth], no page shows
anything without it."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st


def is_allowed(user: Mapping[str, Any], allowed: Sequence[str] | None) -> bool:
    """Whether this user may come in. allowed: addresses, or "@domain" for all of a domain; None
    lets everyone in whom the provider signed in. An address that the provider has not verified
    counts for nothing."""
    if not user.get("is_logged_in"):
        return False
    if allowed is None:
        return True
    email = str(user.get("email", "")).lower()
    verified = user.get("email_verified") is True
    return verified and any(
        email == one.lower() or (one.startswith("@") and email.endswith(one.lower()))
        for one in allowed
    )


def sign_in_enabled() -> bool:
    """Whether the server's secrets ask for sign-in. A broken file of secrets raises, so that nobody
    gets in."""
    return st.secrets.load_if_toml_exists() and "auth" in st.secrets


def allowed_users() -> Sequence[str] | None:
    """Who may enter, as `is_allowed` takes it; only where `sign_in_enabled`."""
    return st.secrets.get("thaw", {}).get("allowed")


def require_sign_in() -> None:
    """Stops the script with a button to sign in, unless sign-in is not asked for or the user may
    enter."""
    if not sign_in_enabled():
        return
    user = st.user.to_dict()
    if is_allowed(user, allowed_users()):
        return
    st.title("Thaw")
    if user.get("is_logged_in"):
        st.error(
            "This account may not use this Thaw; ask whoever runs it, or sign in with another one."
        )
        st.button("Sign out", icon=":material/logout:", on_click=st.logout)
    else:
        st.markdown("This Thaw asks you to sign in.")
        st.button("Sign in", icon=":material/login:", type="primary", on_click=st.login)
    st.stop()
