"""The commands: a module each, and what they share."""

import signal
import sys

# A reload that somebody asks for while the server is only starting waits until it can be done: by itself SIGHUP ends a
# process. This is as early as code of ours runs; what the commands import takes half a second.
if sys.argv[1:2] == ["serve"]:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
