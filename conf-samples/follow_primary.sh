#!/usr/bin/env bash
# After a failover of the primary: makes the other nodes standbys of the new one, and attaches them.
#
#   follow_primary_command = '/etc/pgbalancer/follow_primary.sh %d %h %p %D %m %H %M %P %r %R'
#
# A standby that runs is told of the new primary and goes on. One that cannot (it has more than the new primary, or was a
# primary itself) is stopped and recovered by recovery_1st_stage. One that does not run is left alone: it has a reason.
# Runs as the user of pgbalancer, who must be able to log in to the nodes by ssh as SSH_USER without a password.
set -euo pipefail

# ---- what a site sets
PGBIN=/usr/lib/postgresql/15/bin
# The user of the servers.
SSH_USER=postgres
# Both must be the same in recovery_1st_stage.
SLOTS=off
REPLICATION_USER=repl
# May see pg_stat_replication whole.
MONITOR_USER=postgres
# For pcp_attach_node and pcp_recovery_node; the password comes from PCPPASSFILE, or ~/.pcppass.
PCP=(-h localhost -p 9898 -U postgres -w)
# Seconds that a standby has to go on with the new primary.
LIMIT=10
SSH=(ssh -T -o BatchMode=yes -o ConnectTimeout=10)
# ----

node=$1 host=$2 data=$4 new=$5 new_host=$6 new_port=$9
name=server$node # as in recovery_1st_stage

say() { echo "follow_primary.sh: node $node: $*"; }

# Runs a command on a host, here if it is this one.
on_host() {
    local to=$1
    shift
    case $to in
    /* | localhost | 127.* | ::1 | "$(hostname)" | "$(hostname -f 2>/dev/null)") "$@" ;;
    *) "${SSH[@]}" "$SSH_USER@$to" "$(printf '%q ' "$@")" ;;
    esac
}

if ! on_host "$host" "$PGBIN/pg_ctl" -D "$data" status >/dev/null 2>&1; then
    say "does not run, left alone"
    exit 0
fi

source="host=$new_host port=$new_port user=$REPLICATION_USER"

turn() {
    on_host "$host" test -e "$data/standby.signal" || return 1
    [ "$SLOTS" = off ] || on_host "$host" "$PGBIN/pg_receivewal" --create-slot --if-not-exists --slot="$name" -d "$source"
    on_host "$host" bash -s -- "$data" "$source application_name=$name" <<'END' || return 1
set -eu
cd "$1"
sed -i -E '/^primary_conninfo *=/d' postgresql.auto.conf
printf "primary_conninfo = '%s'\n" "$2" >>postgresql.auto.conf
END
    on_host "$host" "$PGBIN/pg_ctl" -D "$data" reload >/dev/null
}

streams() {
    [ "$("$PGBIN/psql" -X -A -t -w -h "$new_host" -p "$new_port" -U "$MONITOR_USER" -d postgres -c \
        "SELECT count(*) FROM pg_stat_replication WHERE application_name = '$name' AND state = 'streaming'")" = 1 ]
}

wait_streams() {
    local end=$((SECONDS + LIMIT))
    until streams; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.2
    done
}

if turn && wait_streams; then
    say "follows node $new"
    pcp_attach_node "${PCP[@]}" -n "$node"
else
    say "cannot follow node $new as it is: it is stopped and recovered"
    on_host "$host" "$PGBIN/pg_ctl" -D "$data" -m fast -w stop
    pcp_recovery_node "${PCP[@]}" -n "$node"
fi
