#!/bin/sh
# A shell script that says what it does: each line that begins with `monitor-event:` becomes an event.
#
#     monitor-auto run -- sh examples/relay.sh [FOLDER]
#
# Without `monitor-auto run` the lines are plain output, and the script works as well.
# An event begins a line: behind a newline, or behind the carriage return that ends a step of the progress below.
set -eu

event() { # event NAME DATA, the data as a JSON object
    printf 'monitor-event: {"name": "%s", "data": %s}\n' "$1" "$2"
}

json() { # a text as a JSON string: quotes and backslashes escaped, control characters left out
    printf '"%s"' "$(printf %s "$1" | tr -d '\000-\037' | sed 's/["\\]/\\&/g')"
}

folder=${1:-$(mktemp -d)}
if [ $# = 0 ]; then
    trap 'rm -r "$folder"' EXIT
    for city in berlin lagos quito; do echo "orders of $city" >"$folder/$city.csv"; done
fi

done=0
for file in "$folder"/*; do
    bytes=$(wc -c <"$file" | tr -d ' ')
    event file.read "{\"file\": $(json "${file##*/}"), \"bytes\": $bytes}"
    done=$((done + 1))
    printf '%s of %s files\r' "$done" "$(ls "$folder" | wc -l | tr -d ' ')"
done
echo
event job.files "{\"files\": $done}"
