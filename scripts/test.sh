#!/bin/bash
# Runs all tests with shared servers (PostgreSQL, Kafka, registry), and closes with one line that
# counts them. Arguments go to `cargo test`; without any, a part of Debezium's own tests of SQL Server runs too
# (tests/debezium-suite). `make test` builds first.
set -uo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Every T-SQL text that the tests and the programs under test send, to be checked at the end.
CAUSEWAY_SQL_LOG=$(mktemp -d)
export CAUSEWAY_SQL_LOG
trap 'rm -rf "$log" "$CAUSEWAY_SQL_LOG"' EXIT

"$target/release/causeway-stack" cargo test --release --workspace --no-fail-fast "$@" 2>&1 | tee "$log"
code=${PIPESTATUS[0]}

if [ -n "$(ls "$CAUSEWAY_SQL_LOG")" ]; then
  scripts/tsql-check.sh "$CAUSEWAY_SQL_LOG"
  case $? in
    0) ;;
    # It has said why; a machine without it can still run the tests.
    3) ;;
    *) echo "test result: FAILED. 0 passed; 1 failed; 0 ignored: T-SQL that only the stand-in accepts" | tee -a "$log"; code=1 ;;
  esac
fi

if [ $# -eq 0 ]; then
  echo "a part of Debezium's own tests against the stand-in (tests/debezium-suite/run slice):"
  suite=$(mktemp)
  tests/debezium-suite/run slice 2>&1 | tee "$suite"
  case ${PIPESTATUS[0]} in
    # Nothing was tested, and it has said why.
    3) echo "test result: ok. 0 passed; 0 failed; 1 ignored: Debezium's tests did not run" | tee -a "$log" ;;
    0) sed -n 's/^debezium-suite: \([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/test result: ok. \1 passed; \2 failed; \3 ignored/p' "$suite" | tee -a "$log" ;;
    *)
      code=1
      sed -n 's/^debezium-suite: \([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/test result: FAILED. \1 passed; \2 failed; \3 ignored/p' "$suite" | tee -a "$log"
      grep -q '^debezium-suite: ' "$suite" || echo "test result: FAILED. 0 passed; 1 failed; 0 ignored: Debezium's tests" | tee -a "$log"
      ;;
  esac
  rm -f "$suite"
fi

awk -v code="$code" '
  /^test result: / { passed += $4; failed += $6; ignored += $8; results++ }
  END {
    # A test binary that is killed prints no result, but cargo knows.
    if (code != 0 && failed == 0) { failed = 1; print "a test binary ended without a result: see above" }
    if (results == 0) { print "no test ran"; failed += (failed == 0) }
    printf "%d passed, %d failed, %d skipped\n", passed, failed, ignored
    exit failed != 0
  }' "$log"
