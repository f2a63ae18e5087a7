#!/usr/bin/env bash
# Makes another node the primary when the primary fails.
#
#   failover_command = '/etc/pgbalancer/failover.sh %d %h %p %D %m %H %M %P %r %R %N %S'
#
# Runs as the user of pgbalancer, who must be able to log in to the nodes by ssh as SSH_USER without a password. What it
# prints is in the log of pgbalancer; so is it when it fails.
set -euo pipefail

# ---- what a site sets
PGBIN=/usr/lib/postgresql/15/bin
# The user of the servers.
SSH_USER=postgres
# Must be the same in recovery_1st_stage.
SLOTS=off
# Drops the slot of a standby that has failed, as the primary would keep WAL for it until its disk is full.
REPLICATION_USER=repl
SSH=(ssh -T -o BatchMode=yes -o ConnectTimeout=10)
# ----

failed=$1 failed_host=$2 new=$5 new_host=$6 old_primary=$8 new_port=$9 new_data=${10}

say() { echo "failover.sh: $*"; }

# Runs a command on a host, here if it is this one.
on_host() {
    local to=$1
    shift
    case $to in
    /* | localhost | 127.* | ::1 | "$(hostname)" | "$(hostname -f 2>/dev/null)") "$@" ;;
    *) "${SSH[@]}" "$SSH_USER@$to" "$(printf '%q ' "$@")" ;;
    esac
}

if [ -z "$new_host" ] || [ "$new" -lt 0 ]; then
    say "node $failed ($failed_host) failed, and no other is left"
    exit 0
fi

if [ "$failed" != "$old_primary" ]; then
    say "standby $failed ($failed_host) failed: the primary stays"
    [ "$SLOTS" = off ] || on_host "$new_host" "$PGBIN/pg_receivewal" --drop-slot --slot="server$failed" \
        -d "host=$new_host port=$new_port user=$REPLICATION_USER" ||
        say "the slot server$failed is still there: it keeps WAL on $new_host"
    exit 0
fi

say "primary $failed ($failed_host) failed: node $new ($new_host) is promoted"
on_host "$new_host" "$PGBIN/pg_ctl" -D "$new_data" -w promote
