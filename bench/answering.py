"""How a Python side of the benchmark listens: one JSON command per line on stdin, one JSON answer per line on stdout."""

import json
import sys


def answer_commands(side):
    """`do` names a method of the side, the rest are its arguments."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is not an answer
    try:
        for line in sys.stdin:
            command = json.loads(line)
            try:
                answer = getattr(side, command.pop("do"))(**command)
            except Exception as error:  # noqa: BLE001 - told to the driver, which goes on
                answer = {"error": f"{type(error).__name__}: {error}"[:300]}
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
    except KeyboardInterrupt:
        pass  # the driver was interrupted too, and says so
