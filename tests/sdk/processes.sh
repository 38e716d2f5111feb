# Makes the folder $data. At the end of the script it is removed, and the processes in $pids are ended; to be sourced in the root of the
# repository.
data=$(mktemp -d)
pids=()
stop() {
    # The gateway first: it may still talk with the vendors.
    for ((index = ${#pids[@]} - 1; index >= 0; index--)); do
        kill -TERM "${pids[index]}" 2>/dev/null || true
        wait "${pids[index]}" 2>/dev/null || true
    done
    rm -rf "$data"
}
trap stop EXIT
