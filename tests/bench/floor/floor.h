/* What both relays have. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void need(int good, const char *what) {
    if (!good) {
        perror(what);
        exit(1);
    }
}

/* The port of the next server: what stands behind the comma, or from the front again. */
static const char *next(const char *ports) {
    static const char *at;
    at = at ? strchr(at, ',') : NULL;
    at = at ? at + 1 : ports;
    return at;
}
