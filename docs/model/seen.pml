/* What was reached, counted outside of the states and printed at the end: a property
 * that holds because nothing ever happens is worth nothing. EVENTS lists the names. */
#define AS_NUMBER(name) name,
#define AS_TEXT(name)   #name,
#define SEEN(name)      c_code { seen[name]++; }

c_decl {
    enum { EVENTS(AS_NUMBER) EVENTS_END };
    static unsigned long seen[EVENTS_END + 1];
    static const char *const event_names[] = { EVENTS(AS_TEXT) "" };

    static void
    tell_seen(void)
    {
        int i;

        for (i = 0; i < EVENTS_END; i++)
            printf("seen %s %lu\n", event_names[i], seen[i]);
    }
}
