"""Opens containers: compressed files and archives, as streams of bounded size."""
