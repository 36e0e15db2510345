"""Facts that make a number traceable: git, host, load, digests, fingerprint; and gates and lock before a run."""
