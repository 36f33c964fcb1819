#!/usr/bin/env bash
# Checks T-SQL with Microsoft's own parser (ScriptDom, which comes in the PyPI package mssql-cli; it runs on
# Debian's Mono). Whatever the stand-in accepts and ScriptDom does not is a mistake of ours.
#   scripts/tsql-check.sh FOLDER-OR-FILE...   files *.jsonl: SQL logs of the stand-in; files *.sql: batches with GO
# Rule for texts that tests send on purpose to be refused: the log marks each text that the stand-in's own parser
# refused ({"refused": NUMBER, "sql": ...}), and a text may say by a line "--! 102" which error of the server's
# parser it expects (tests/tsql/texts.py). Everything else is checked.
# Exit: 0 all parse, 1 some do not, 3 the parser is not there and cannot be had (CAUSEWAY_TSQL_CHECK=cached
# does not even try to fetch it).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/causeway/tsql-check-1
assembly=Microsoft.SqlServer.TransactSql.ScriptDom.dll
facade=/usr/lib/mono/4.5/Facades/netstandard.dll

install() {
  if ! command -v mcs || [ ! -e "$facade" ]; then
    [ "$(id -u)" = 0 ] && command -v apt-get || { echo "install Debian's mono-mcs and mono-devel"; return 1; }
    apt-get update -q || return 1
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends mono-mcs mono-devel || return 1
  fi
  local part=$cache.part
  rm -rf "$part" && mkdir -p "$part" || return 1
  python3 -m venv "$part/venv" || return 1
  # no dependencies: of all of it one assembly is wanted
  "$part/venv/bin/pip" install -q --no-deps "setuptools<70" wheel || return 1
  "$part/venv/bin/pip" install -q --no-deps --no-build-isolation mssql-cli==1.0.0 || return 1
  cp "$part"/venv/lib/python3*/site-packages/mssqlcli/mssqltoolsservice/bin/$assembly "$part/" || return 1
  rm -rf "$part/venv"
  mv "$part" "$cache"
}

if [ ! -e "$cache/$assembly" ] || ! command -v mono >/dev/null; then
  if [ "${CAUSEWAY_TSQL_CHECK:-}" = cached ]; then
    echo "tsql-check: not done: Microsoft's parser is not in the cache; scripts/tsql-check.sh fetches it" >&2
    exit 3
  fi
  echo "tsql-check: fetching Microsoft's parser and Mono (once, two minutes)" >&2
  mkdir -p "${cache%/*}"
  log=$(mktemp)
  if ! install >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    rm -f "$log"
    echo "tsql-check: not done: Microsoft's parser could not be installed" >&2
    exit 3
  fi
  rm -f "$log"
fi
source=$here/../tests/tsql/check.cs
program=$cache/check-$(cksum < "$source" | cut -d ' ' -f 1).exe
if [ ! -e "$program" ]; then
  # under a name of its own first: two tests may do this at once
  mcs -nologo -out:"$program.$$" -r:"$cache/$assembly" -r:"$facade" "$source" >&2
  mv "$program.$$" "$program"
fi
python3 "$here/../tests/tsql/texts.py" "$@" | MONO_PATH=$cache mono "$program"
