"""A hook as people write them: reads its settings as JSON, decides, says so."""

import json
import sys

SETTINGS = '{"branches": ["main", "release"], "limit": 3}'


def main() -> int:
    settings = json.loads(SETTINGS)
    print(json.dumps({"allowed": "main" in settings["branches"]}))
    return 0


sys.exit(main())
