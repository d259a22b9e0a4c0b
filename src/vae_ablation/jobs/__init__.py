"""One function per rule, the frame of a script, and the fork server."""
