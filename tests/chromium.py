"""How tests start Chromium: the names of its program, and the flags that every start has."""

#: In the order in which they are looked for on PATH.
BROWSERS = ("chromium", "google-chrome", "chromium-browser")
#: No first-run pages, no updates, nothing fetched for the browser's own sake, and no proxy before loopback.
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server",
         "--disable-dev-shm-usage")
