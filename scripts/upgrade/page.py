from pathlib import Path
PAGE = Path("/tmp/upgrading.md")
def to_page(results): return ""
