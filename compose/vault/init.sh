#!/bin/sh
# Fills the development Vault with the passwords of the other containers.
set -eu
vault kv put -mount=secret causeway/sqlserver user=causeway password="$SQLSERVER_PASSWORD" > /dev/null
vault kv put -mount=secret causeway/postgres user=causeway password="$POSTGRES_PASSWORD" > /dev/null
echo "vault-init: secret/causeway/sqlserver and secret/causeway/postgres are written"
