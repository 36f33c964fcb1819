"""Prints the distinct T-SQL texts of the files and folders given, a line each: NAME, a tab, base64."""
import base64
import json
import pathlib
import re
import sys


def texts(path):
    if path.suffix == ".jsonl":
        for line in path.read_text(encoding="utf-8").split("\n"):
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # a server that was killed has left half a line
            if isinstance(entry, str):  # an object is a text that the stand-in refused too
                yield entry
    else:
        sql = path.read_text(encoding="utf-8")
        yield from re.split(r"(?im)^[ \t]*GO[ \t]*(?:\d+[ \t]*)?\r?$", sql)


# Errors of SQL Server's parser. A text that says by a line "--! NUMBER" that it expects one of them is sent to be
# refused: Microsoft's parser may refuse it too.
REFUSED = re.compile(r"(?m)^--! (102|105|111|119|156|195|1033|10713)\b")
seen = set()
for argument in sys.argv[1:]:
    path = pathlib.Path(argument)
    files = sorted(path.glob("**/*.jsonl")) if path.is_dir() else [path]
    for file in files:
        for sql in texts(file):
            # lone surrogates are no UTF-8; they stand in literals only
            data = sql.encode("utf-8", "replace")
            if data.strip() and data not in seen and not REFUSED.search(sql):
                seen.add(data)
                print(file.name, base64.b64encode(data).decode(), sep="\t")
