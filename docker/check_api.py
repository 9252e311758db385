"""Ask the service of this container whether it answers predictions. Exit code 0: yes."""

import sys
import urllib.error
import urllib.request

TIMEOUT_S = 5.0


def main() -> int:
    """Return the exit code."""
    try:
        # Not through the proxy that the environment may name: it would ask itself.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open("http://127.0.0.1:8000/readyz", timeout=TIMEOUT_S) as answer:
            return 0 if answer.status == 200 else 1
    except (urllib.error.URLError, TimeoutError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
