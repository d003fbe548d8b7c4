"""Optional sign-in by OpenID Connect: where the server's secrets hold [auth], no page shows anything without it."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st


def may_enter(user: Mapping[str, Any], allowed: Sequence[str] | None) -> bool:
    """Whether this user may come in. allowed: addresses, or "@domain" for all of a domain; None lets everyone in whom
    the provider signed in. An address that the provider has not verified counts for nothing."""
    if not user.get("is_logged_in"):
        return False
    if allowed is None:
        return True
    email = str(user.get("email", "")).lower()
    verified = user.get("email_verified") is True
    return verified and any(
        email == one.lower() or (one.startswith("@") and email.endswith(one.lower())) for one in allowed
    )


def require_sign_in() -> None:
    """Stops the script with a button to sign in, unless sign-in is not asked for or the user may enter."""
    # Without a file of secrets there is nothing to read; a broken one raises, and nobody gets in.
    if not st.secrets.load_if_toml_exists() or "auth" not in st.secrets:
        return
    allowed = st.secrets.get("thaw", {}).get("allowed")
    user = st.user.to_dict()
    if may_enter(user, allowed):
        return
    st.title("Thaw")
    if user.get("is_logged_in"):
        st.error("This account may not use this Thaw; ask whoever runs it, or sign in with another one.")
        st.button("Sign out", icon=":material/logout:", on_click=st.logout)
    else:
        st.markdown("This Thaw asks you to sign in.")
        st.button("Sign in", icon=":material/login:", type="primary", on_click=st.login)
    st.stop()
