#!/bin/sh
# Makes the secrets of the local cluster in docker/secrets/, once: those that are there stay.
# The folder is closed to other users of this machine; the files in it are not, as the users in the containers must read them.
set -eu
folder=$(dirname "$0")/secrets
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
write() { [ -s "$folder/$1" ] || printf '%s' "$2" >"$folder/$1"; }

mkdir -p "$folder"
chmod 700 "$folder"
write ray_token "$(random)"
write postgres_password "$(random)"
write mlflow_password "$(random)"
write mlflow_session_key "$(random)"
if [ ! -s "$folder/s3_config.json" ]; then
    key=$(random)
    secret=$(random)
    rm -f "$folder/s3_credentials"
    write s3_credentials "[default]
aws_access_key_id = $key
aws_secret_access_key = $secret
"
    write s3_config.json "{\"identities\": [{\"name\": \"mlflow\", \"actions\": [\"Admin\", \"Read\", \"List\", \"Tagging\", \"Write\"],
  \"credentials\": [{\"accessKey\": \"$key\", \"secretKey\": \"$secret\"}]}]}
"
fi
chmod 444 "$folder"/*
