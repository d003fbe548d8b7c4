"""The middleware between the network and Streamlit: hosts, headers, limits, uploads, sign-in."""
