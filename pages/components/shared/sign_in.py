"""Optional sign-in by OpenID Connect.

With [auth] in the server's secrets, no page shows anything without it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st


def is_allowed(user: Mapping[str, Any], allowed: Sequence[str] | None) -> bool:
    """Return whether this user may enter.

    Args:
        user: the claims of Streamlit's ``st.user``.
        allowed: e-mail addresses, or "@domain" for a whole domain; None admits everyone whom the
            provider has signed in. An address that the provider has not verified is not accepted.
    """
    if not user.get("is_logged_in"):
        return False
    if allowed is None:
        return True
    email = str(user.get("email", "")).lower()
    verified = user.get("email_verified") is True
    return verified and any(
        email == entry.lower() or (entry.startswith("@") and email.endswith(entry.lower()))
        for entry in allowed
    )


def sign_in_enabled() -> bool:
    """Return whether the server's secrets ask for sign-in.

    If they cannot be read, the error is raised, so that nobody gets in.
    """
    return st.secrets.load_if_toml_exists() and "auth" in st.secrets


def allowed_users() -> Sequence[str] | None:
    """Return who may enter, as `is_allowed` takes it; only valid if `sign_in_enabled`."""
    return st.secrets.get("thaw", {}).get("allowed")


def require_sign_in() -> None:
    """Stop the script with a sign-in button, unless sign-in is off or the user may enter."""
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
