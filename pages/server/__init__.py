"""What stands between the network and Streamlit: whom the app answers, with which headers, and how
much it takes in."""
